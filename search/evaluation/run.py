"""A whole run: every question of a suite, several at once, each kept as it comes, and the means over all of them.

What always holds: the metrics are made from the kept outcomes alone; who lost the run (see :mod:`search.evaluation.jobs`)
keeps nothing more.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from django.conf import settings
from django.db import connections

import search
from inference.runtime import Runtime
from search.evaluation import metrics
from search.evaluation.asking import Asking, Outcome, ask
from search.evaluation.suites import SuiteQuestion

MEANS = (
    "ndcg@10", "recall@10", "recall@100", "mrr@10", "document_hit@5", "page_hit@5", "derived_page_hit@5",
    "span_recall@5", "span_precision@5", "span_iou@5", "exact_match", "token_f1", "citation_recall",
)  # fmt: skip
SETTINGS = (
    "mode", "model", "model_format", "kv_cache_format", "max_model_len", "speculation", "embedding_model",
    "embedding_format", "context_tokens", "answer_passages", "answer_length", "max_answer_tokens", "refuse_below", "min_similarity",
    "unsupported_sentences",
)  # fmt: skip
"""Those that change an answer."""


def ask_all(
    questions: Sequence[SuiteQuestion],
    asking: Asking,
    *,
    threads: int,
    stopping: Callable[[], bool] = lambda: False,
) -> Iterator[Outcome]:
    """The outcomes, as they come. Raises what asking raises, once. ``threads`` 1 asks in the calling thread."""
    if threads <= 1:
        for question in questions:
            if stopping():
                return
            yield ask(question, asking)
        return
    waiting: SimpleQueue[SuiteQuestion] = SimpleQueue()
    for question in questions:
        waiting.put(question)
    results: SimpleQueue[Outcome | BaseException | None] = SimpleQueue()
    ended = threading.Event()

    def work() -> None:
        try:
            while not ended.is_set() and not stopping():
                results.put(ask(waiting.get_nowait(), asking))
        except Empty:
            pass
        except BaseException as error:
            results.put(error)
        finally:
            connections.close_all()
            results.put(None)

    workers = [threading.Thread(target=work, name=f"evaluation-{n}", daemon=True) for n in range(threads)]
    for worker in workers:
        worker.start()
    try:
        running = len(workers)
        while running:
            result = results.get()
            if result is None:
                running -= 1
            elif isinstance(result, Outcome):
                yield result
            else:
                raise result
    finally:
        ended.set()
        for worker in workers:
            worker.join()


def summarise(outcomes: Iterable[Outcome]) -> dict[str, float | int]:
    """The metrics of a run, by name; those that say nothing about its questions are missing."""
    done = list(outcomes)
    asked = [outcome for outcome in done if outcome.status != "found"]
    found: dict[str, float | int | None] = {"questions": len(done)}
    found |= {name: metrics.mean(o.metrics.get(name) for o in done) for name in MEANS}
    if asked:
        found |= _refusals(asked) | _citations(asked) | _latencies(asked)
        found["failed"] = sum(o.status == "failed" for o in asked)
    times = [o.timings.get("retrieval_s") for o in done]
    found["retrieval_p50_s"], found["retrieval_p95_s"] = (metrics.quantile(times, p) for p in (0.5, 0.95))
    return {name: _rounded(value) for name, value in found.items() if value is not None}


def configuration(models: Runtime, options: Mapping[str, Any], cut: str) -> dict[str, Any]:
    """What a run was made with: settings, a hash of the code that searches and answers, and one of what passages depend
    on (``cut``)."""
    return {
        "settings": settings_that_matter(),
        "options": dict(options),
        "code": _code(),
        "passages": cut[:12],
    }


def settings_that_matter() -> dict[str, str]:
    """The settings that change an answer, as they are now."""
    return {name: str(getattr(settings.ENV, name)) for name in SETTINGS}


def _refusals(asked: Sequence[Outcome]) -> dict[str, float | int | None]:
    judged = [o for o in asked if o.question.answerable is not None]
    found = metrics.Refusals.of((bool(o.question.answerable), o.refused) for o in judged)
    answered = sum(bool(o.question.answerable) and o.status == "answered" for o in judged)
    return {
        "answerable": found.answerable,
        "unanswerable": found.unanswerable,
        "refusal_precision": found.precision,
        "refusal_recall": found.recall,
        "refusal_f1": found.f1,
        "false_refusal_rate": found.false_refusal_rate,
        "balanced_accuracy": found.balanced_accuracy(answered),
    }


def _citations(asked: Sequence[Outcome]) -> dict[str, float | int | None]:
    total = sum(o.metrics.get("citations", 0) for o in asked)
    right = sum(o.metrics.get("citations_right", 0) for o in asked)
    gold = sum(o.metrics.get("citations_gold", 0) for o in asked)
    return {
        "citations": int(total),
        "citation_precision": right / total if total else None,
        "citation_document_precision": gold / total if total else None,
    }


def _latencies(asked: Sequence[Outcome]) -> dict[str, float | int | None]:
    written = [o for o in asked if o.timings.get("completion_tokens")]
    found: dict[str, float | int | None] = {}
    for name, outcomes, part in (("latency", asked, "total_s"), ("first_token", written, "first_token_s")):
        values = [o.timings.get(part) for o in outcomes]
        found[f"{name}_p50_s"] = metrics.quantile(values, 0.5)
        found[f"{name}_p95_s"] = metrics.quantile(values, 0.95)
    return found


def _rounded(value: float | int) -> float | int:
    return value if isinstance(value, int) else round(value, 4)


def _code() -> str:
    whole = hashlib.sha256()
    home = Path(search.__path__[0])
    for file in sorted(home.glob("*.py")) + sorted((home / "index").glob("*.py")):
        whole.update(file.name.encode() + file.read_bytes())
    return whole.hexdigest()[:12]


class Clock:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self._begun = time.perf_counter()

    def seconds(self) -> float:
        return round(time.perf_counter() - self._begun, 2)
