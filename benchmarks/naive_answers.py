"""The peer of our answers: the usual pipeline over the same passages, embedder, model, decoding and token limit.

The five passages nearest by dense vectors alone, and one instruction: answer from them, or say "not in the documents". A
refusal is told by that phrase. With ``cite`` the model is asked to cite its sources; a mark [n] then cites passage n as a whole,
for nothing tells the place in it.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import numpy as np
import numpy.typing as npt

from inference.request import ChatMessage, Delta, Finished, Priority, SamplingParams
from search.evaluation.asking import Asking, Outcome, judge_answer
from search.evaluation.suites import SuiteQuestion
from search.generating import share_of

TOP = 5
PROMPT = "Answer using only the passages. If they do not contain the answer, say 'not in the documents'."
CITE = " Cite your sources as [1]."
_REFUSES = re.compile(r"\bnot\s+(?:\w+\s+)?in\s+the\s+(?:documents|passages)\b", re.IGNORECASE)
_MARK = re.compile(r"\[(\d{1,2})\]")


@dataclass(frozen=True, slots=True)
class Passages:
    """Every passage of an organisation: ``vectors`` is ``[n, dimension]``, float32."""

    rows: list[dict[str, Any]]
    vectors: npt.NDArray[np.float32]


def load(asking: Asking) -> Passages:
    """The published passages, as the product cut and embedded them."""
    from search.models import Chunk
    from tenants.scope import tenant_scope

    fields = (
        "version__document_id",
        "version_id",
        "version__document__title",
        "page",
        "start",
        "end",
        "text",
    )
    rows, vectors = [], []
    with tenant_scope(asking.organization):
        published = Chunk.objects.filter(version__published_for__isnull=False).order_by("id")
        for *values, embedding in published.values_list(*fields, "embedding").iterator(2000):
            names = ("document_id", "version_id", "title", "page", "start", "end", "text")
            rows.append(dict(zip(names, values, strict=True)))
            vectors.append(np.frombuffer(embedding, dtype="<f2").astype(np.float32))
    return Passages(rows, np.stack(vectors))


def ask(question: SuiteQuestion, asking: Asking, passages: Passages, *, cite: bool) -> Outcome:
    """One question, answered by the peer, with the same metrics as ours."""
    generator, outcome = asking.models.generator, Outcome(question, query=question.text)
    begun = time.perf_counter()
    vector = asking.models.embedder.embed_query("\n".join([*question.earlier[-1:], question.text]))
    found = [passages.rows[i] for i in np.argsort(-(passages.vectors @ vector), kind="stable")[:TOP]]
    shown = "\n\n".join(f"[{n}] {row['title']}\n{row['text']}" for n, row in enumerate(found, 1))
    instruction = PROMPT + (CITE if cite else "")
    message = ChatMessage("user", f"{instruction}\n\n{shown}\n\nQuestion: {question.text}")
    params = SamplingParams(max_tokens=_longest())
    handle = generator.submit(
        generator.render_chat([message]), params, share=share_of(asking.organization), priority=Priority.BATCH
    )
    text = ""
    for event in handle:
        if isinstance(event, Delta):
            outcome.timings.setdefault("first_token_s", time.perf_counter() - begun)
            text += event.text
        elif isinstance(event, Finished):
            outcome.timings["total_s"] = time.perf_counter() - begun
            outcome.timings["completion_tokens"] = event.usage.completion_tokens
            if event.error is not None:
                outcome.status, outcome.error_code = "failed", event.error.code
    if outcome.status != "failed":
        outcome.status = "not_found" if refuses(text) else "answered"
    outcome.answer, outcome.model = text.strip(), generator.model_name
    if outcome.status == "answered":
        outcome.citations = [_citation(n, found[n - 1]) for n in marks(text)]
    judge_answer(outcome, asking)
    return outcome


def refuses(text: str) -> bool:
    """Whether an answer says that it is not in the documents."""
    return not text.strip() or _REFUSES.search(text) is not None


def marks(text: str) -> list[int]:
    """The numbers of the passages that a text cites, each once."""
    return [n for n in dict.fromkeys(int(number) for number in _MARK.findall(text)) if 1 <= n <= TOP]


def _citation(n: int, row: dict[str, Any]) -> dict[str, Any]:
    place = {name: row[name] for name in ("title", "page", "start", "end")}
    return {
        "n": n,
        **place,
        "document_id": str(UUID(str(row["document_id"]))),
        "version_id": str(row["version_id"]),
    }


def _longest() -> int:
    from django.conf import settings

    return int(settings.ENV.max_answer_tokens)
