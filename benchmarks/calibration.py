"""Fits the probability that passages answer a question (:mod:`search.answerability`), and prints its trade-off.

    python -m benchmarks.calibration ../shared/eval/qa [--suites squad2 clapnq] [--limit 300] [--model NAME]

Asks the dev half of each suite for the three signals, adds questions of one suite asked of the documents of the next, which cannot
be answered there, fits a logistic regression, and prints weights and, on the held half, how much each threshold refuses. The
suites weigh alike. Runs on the state under ``TESSERA_VAR_DIR``, which the product must not be using.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.installation import installed
from benchmarks.report import keep

THRESHOLDS = (0.1, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6)
STRANGERS = 60
"""Questions of one suite that are asked of the documents of another."""
RIDGE = 1e-3
Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Case:
    """A question with its signals; ``suite`` names where it was asked and of what it is."""

    suite: str
    split: str
    answerable: bool
    signals: tuple[float, float, float]


def fitted(signals: Array, answerable: Array, weights: Array) -> Array:
    """The weights of a logistic regression and its constant, ``[signals + 1]``, by Newton's method."""
    inputs = np.hstack([signals, np.ones((len(signals), 1))])
    found = np.zeros(inputs.shape[1])
    for _ in range(50):
        likely = 1 / (1 + np.exp(-inputs @ found))
        slope = inputs.T @ (weights * (likely - answerable)) + RIDGE * found
        bend = (inputs * (weights * likely * (1 - likely))[:, None]).T @ inputs + RIDGE * np.eye(len(found))
        step = np.linalg.solve(bend, slope)
        found -= step
        if np.abs(step).max() < 1e-8:
            break
    return found


def trade_off(likely: Array, answerable: npt.NDArray[np.bool_]) -> list[dict[str, float]]:
    """For each threshold what is refused of either kind, and how good the refusals are."""
    rows = []
    for threshold in THRESHOLDS:
        refused = likely < threshold
        right, wrong = int((refused & ~answerable).sum()), int((refused & answerable).sum())
        recall = right / max(int((~answerable).sum()), 1)
        false = wrong / max(int(answerable.sum()), 1)
        both = right + wrong + int((~answerable).sum())
        rows.append(
            {
                "threshold": threshold,
                "false_refusal_rate": round(false, 4),
                "refusal_recall": round(recall, 4),
                "refusal_f1": round(2 * right / both, 4) if both else 0.0,
                "balanced_accuracy": round((recall + 1 - false) / 2, 4),
            }
        )
    return rows


def area(likely: Array, answerable: npt.NDArray[np.bool_]) -> float | None:
    """Area under the curve of telling one kind from the other; equal values count half. None where one kind is missing."""
    yes, no = likely[answerable], likely[~answerable]
    if not len(yes) or not len(no):
        return None
    return round(float(((yes[:, None] > no) + 0.5 * (yes[:, None] == no)).mean()), 4)


def _cases(suite: Any, home: Any, split: str, stranger: str, models: Any, threads: int) -> list[Case]:
    from django.db import connections

    from inference.request import Priority
    from search.answerability import share_said
    from search.answering import HITS, MOST_SOURCES, length_of, passages_to_read, within_budget
    from search.generating import Requests, StopSignal, share_of
    from search.passages import choose_sources
    from search.prompting import build_check
    from search.retrieval import readable_collections, retrieve

    collections = readable_collections(home)

    def one(question: Any) -> Case | None:
        try:
            found = retrieve(
                organization=home,
                collection_ids=collections,
                query=question.text,
                limit=HITS,
                embedder=models.embedder,
            )
            sources = within_budget(home, choose_sources(found.hits)[:MOST_SOURCES], models.generator)
            read = passages_to_read(sources, length_of(question.text), models.generator)
            engine = Requests(models.generator, share_of(home), Priority.BATCH, StopSignal())
            says_yes = engine.says_yes(build_check(question.text, read, ()))
        finally:
            connections.close_all()
        if not read or says_yes is None:
            return None
        answerable = bool(question.answerable) and not stranger
        signals = (found.best_similarity, share_said(question.text, sources, read), says_yes)
        return Case(stranger or suite.name, split, answerable, signals)

    with ThreadPoolExecutor(threads) as pool:
        return [case for case in pool.map(one, suite.questions) if case is not None]


def gathered(folders: Sequence[Path], options: argparse.Namespace, models: Any) -> list[Case]:
    """The cases of all suites, both halves, and of each suite's first questions in the next one's documents."""
    from ingestion.evaluating import IngestionPublisher
    from search.evaluation.corpora import prepare
    from search.evaluation.suites import chosen, read

    publisher = IngestionPublisher(works_itself=True)
    suites = [read(folder) for folder in folders]
    homes = [
        prepare(suite, embedder=models.embedder, publisher=publisher, say=_say).organization
        for suite in suites
    ]
    cases: list[Case] = []
    for at, (suite, home) in enumerate(zip(suites, homes, strict=True)):
        for split in ("dev", "held"):
            part = chosen(suite, split=split, limit=options.limit)
            _say(f"{suite.name} {split}: {len(part.questions)} questions")
            cases += _cases(part, home, split, "", models, options.threads)
            if len(suites) > 1:
                next_home = homes[(at + 1) % len(homes)]
                strangers = chosen(suite, split=split, limit=STRANGERS)
                name = f"{suite.name} of another collection"
                cases += _cases(strangers, next_home, split, name, models, options.threads)
    return cases


def report(cases: Sequence[Case]) -> dict[str, Any]:
    """The fit on the dev half, and what it does on either."""
    signals = np.array([case.signals for case in cases])
    answerable = np.array([case.answerable for case in cases])
    suites, dev = np.array([case.suite for case in cases]), np.array([case.split == "dev" for case in cases])
    weights = np.array([len(cases) / (suites[dev] == suite).sum() for suite in suites])
    found = fitted(signals[dev], answerable[dev].astype(float), weights[dev] / weights[dev].mean())
    likely = 1 / (1 + np.exp(-(np.hstack([signals, np.ones((len(signals), 1))]) @ found)))
    result: dict[str, Any] = {
        "weights": dict(zip(("cosine", "said", "says_yes", "constant"), map(float, found), strict=True))
    }
    own = np.array([" of another collection" not in suite for suite in suites])
    parts = {"all": own | True, "questions of the collection": own}
    parts |= {suite: suites == suite for suite in dict.fromkeys(suites.tolist())}
    for split, half in (("dev", dev), ("held", ~dev)):
        for name, part in parts.items():
            here = half & part
            result[f"{split}: {name}"] = {
                "questions": int(here.sum()),
                "area": area(likely[here], answerable[here]),
                "trade_off": trade_off(likely[here], answerable[here]),
            }
    return result


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--suites", nargs="+", default=["squad2", "clapnq"])
    parser.add_argument("--limit", type=int, default=300, help="Most questions of a half of a suite.")
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--model", default="")
    options = parser.parse_args(arguments)
    with installed({"retrieval_only": False, "model": options.model}) as models:
        folders = [options.folder.resolve() / name for name in options.suites]
        cases = gathered(folders, options, models)
        names = {"model": models.generator.model_name, "embedder": models.embedder.name}
    result = {**names, **report(cases)}
    for name, value in result.items():
        print(name, value)
    print(keep("calibration", {**result, "cases": [asdict(case) for case in cases]}))


if __name__ == "__main__":
    main(sys.argv[1:])
