"""Two runs of the same questions beside each other: what was different, each metric, and the questions that changed.

What always holds: a question is compared with itself alone, told by its id in a public suite and by its words in an
organisation's own set, whose numbers move when one is removed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from search.evaluation.models import EvaluationResult, EvaluationRun
from search.evaluation.pages import NAMES, RUNS, address, signed
from tenants.models import Organization
from tenants.scope import tenant_scope

LEAST_CHANGE = 0.1
"""A question whose measure moved by less is alike: an answer that is worded otherwise moves F1 by some hundredths."""
MOST_SHOWN = 100
_SAME = 0.0005
"""What a difference of three decimals is rounded away from."""
_LESS_IS_BETTER = ("false_refusal_rate", "failed", "latency_", "first_token_", "retrieval_")

Result = EvaluationResult
Pair = tuple[Result, Result]


@dataclass(frozen=True, slots=True)
class Difference:
    """A metric of two runs; ``verdict`` is better, worse, same, or empty where only one has it."""

    label: str
    before: str
    after: str
    change: str = ""
    verdict: str = ""


def comparison_page(organization: Organization, query: Mapping[str, str]) -> dict[str, Any]:
    """The runs ``before`` and ``after`` of the query, by the measure ``by``; the two newest of one suite where none are named.

    Raises ``EvaluationRun.DoesNotExist`` for a run that is not the organisation's or has not ended.
    """
    by = query.get("by", "answers")
    by = by if by in MEASURES else "answers"
    with tenant_scope(organization):
        ended = EvaluationRun.objects.filter(status=EvaluationRun.Status.DONE)
        runs = list(ended[:RUNS])
        before, after = _chosen(runs, query)
        rows = Result.objects.only("run_id", "number", "key", "question", "answerable", "status", "metrics")
        results = {run.id: list(rows.filter(run=run)) for run in (before, after) if run is not None}
    page: dict[str, Any] = {
        "runs_url": address(organization, "evaluation"), "runs": runs, "before": before, "after": after, "by": by,
    }  # fmt: skip
    if before is None or after is None:
        return page
    pairs, alone = _paired(results[before.id], results[after.id], by_key=organization.is_internal)
    changes = {name: _changes(pairs, measure) for name, (_, measure) in MEASURES.items()}
    better, worse, alike = changes[by]
    return page | {
        "differs": _what_differs(before, after),
        "metrics": differences(before.metrics, after.metrics),
        "both": len(pairs),
        "alone": alone,
        "measures": [(n, label, len(changes[n][0]), len(changes[n][1])) for n, (label, _) in MEASURES.items()],
        "better": _shown(organization, better),
        "worse": _shown(organization, worse),
        "better_count": len(better),
        "worse_count": len(worse),
        "alike": alike,
    }  # fmt: skip


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Difference]:
    """Every metric that one of the runs has, in the order of the page of a run."""
    return [
        _difference(name, label, before.get(name), after.get(name))
        for name, label in NAMES.items()
        if name in before or name in after
    ]


def quality(result: Result) -> float | None:
    """How good an answer is, from 0 to 1: F1 of words where answers are known, else whether it was refused as it should be.
    None where nobody knows, or where only documents were ranked."""
    if result.status == "failed":
        return 0.0
    if result.answerable is None or result.status == "found":
        return None
    refused = result.status == "not_found"
    if not result.answerable:
        return float(refused)
    return float(result.metrics.get("token_f1", not refused))


def _metric(name: str) -> Callable[[Result], float | None]:
    return lambda result: result.metrics.get(name)


MEASURES: dict[str, tuple[str, Callable[[Result], float | None]]] = {
    "answers": ("Answers", quality),
    "ranking": ("Documents found", _metric("ndcg@10")),
    "citations": ("Sentences cited", _metric("citation_recall")),
}
"""What questions are compared by."""


def _chosen(
    runs: list[EvaluationRun], query: Mapping[str, str]
) -> tuple[EvaluationRun | None, EvaluationRun | None]:
    if query.get("before") or query.get("after"):
        return _named(query.get("before", "")), _named(query.get("after", ""))
    after = runs[0] if runs else None
    return next((run for run in runs[1:] if after and run.suite == after.suite), None), after


def _named(text: str) -> EvaluationRun:
    try:
        return EvaluationRun.objects.get(id=UUID(text), status=EvaluationRun.Status.DONE)
    except ValueError as error:
        raise EvaluationRun.DoesNotExist from error


def _paired(before: Iterable[Result], after: Iterable[Result], *, by_key: bool) -> tuple[list[Pair], int]:
    """The results of the questions that both runs asked, and how many only one did."""
    here, there = _by_question(before, by_key), _by_question(after, by_key)
    pairs = [(here[question], result) for question, result in there.items() if question in here]
    return pairs, len(here) + len(there) - 2 * len(pairs)


def _by_question(results: Iterable[Result], by_key: bool) -> dict[Any, Result]:
    found: dict[Any, Result] = {}
    seen: Counter[str] = Counter()
    for result in results:
        name = result.key if by_key else result.question
        seen[name] += 1
        found[name, seen[name]] = result
    return found


def _changes(
    pairs: Iterable[Pair], measure: Callable[[Result], float | None]
) -> tuple[list[tuple[float, Pair]], list[tuple[float, Pair]], int]:
    """Those that got better and worse, the largest change first, and how many are alike."""
    moved = []
    alike = 0
    for pair in pairs:
        before, after = measure(pair[0]), measure(pair[1])
        if before is None or after is None:
            continue
        if abs(after - before) < LEAST_CHANGE - 1e-9:
            alike += 1
        else:
            moved.append((after - before, pair))
    moved.sort(key=lambda each: (-abs(each[0]), each[1][1].number))
    return [each for each in moved if each[0] > 0], [each for each in moved if each[0] < 0], alike


def _shown(organization: Organization, changed: list[tuple[float, Pair]]) -> list[dict[str, Any]]:
    return [
        {
            "question": after.question,
            "change": signed(change, ".2f"),
            "sides": [
                (label, each.status, address(organization, "evaluation-result", each.run_id, each.number))
                for label, each in (("Before", before), ("After", after))
            ],
        }
        for change, (before, after) in changed[:MOST_SHOWN]
    ]


def _difference(name: str, label: str, before: Any, after: Any) -> Difference:
    if before is None or after is None:
        return Difference(label, _text(before), _text(after))
    change = after - before
    if name == "questions":
        return Difference(label, _text(before), _text(after), signed(change, "d") if change else "")
    if abs(change) < _SAME:
        return Difference(label, _text(before), _text(after), verdict="same")
    better = (change < 0) is name.startswith(_LESS_IS_BETTER)
    shown = signed(change, "d" if isinstance(change, int) else ".3f")
    return Difference(label, _text(before), _text(after), shown, "better" if better else "worse")


def _text(value: Any) -> str:
    if value is None:
        return "–"
    return str(value) if isinstance(value, int) else f"{value:.3f}"


def _what_differs(before: EvaluationRun, after: EvaluationRun) -> list[tuple[str, str, str]]:
    """Name, value before and value after of everything that the runs were made with and that is not the same."""
    here, there = _made_with(before), _made_with(after)
    return [
        (name, here.get(name, "–"), there.get(name, "–"))
        for name in dict.fromkeys((*here, *there))
        if here.get(name) != there.get(name)
    ]


def _made_with(run: EvaluationRun) -> dict[str, str]:
    kept = run.configuration
    options = {name: value for name, value in kept.get("options", {}).items() if name != "source"}
    said = {"suite": run.suite, "language model": run.model, "embedder": run.embedder}
    said |= options | kept.get("settings", {}) | {name: kept.get(name, "") for name in ("code", "passages")}
    return {name: str(value) or "–" for name, value in said.items()}
