"""What the pages of evaluations show: plain values, read within the organisation's scope."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db.models import Q, QuerySet
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from search.evaluation.models import EvaluationQuestion, EvaluationResult, EvaluationRun
from search.links import citation_url
from tenants.models import Organization
from tenants.scope import tenant_scope

RUNS = 100
RESULTS = 200
TREND = (
    ("recall@10", "Documents found"), ("token_f1", "Answer F1"), ("balanced_accuracy", "Refusals, balanced"),
    ("citation_precision", "Citations right"), ("citation_recall", "Sentences cited"),
)  # fmt: skip
NAMES = {
    **dict(TREND),
    "questions": "Questions", "ndcg@10": "nDCG@10", "recall@100": "Recall@100", "mrr@10": "MRR@10",
    "document_hit@5": "Document among the first 5", "page_hit@5": "Page among the first 5",
    "exact_match": "Exact match", "refusal_precision": "Refusals, precision", "refusal_recall": "Refusals, recall",
    "refusal_f1": "Refusals, F1", "false_refusal_rate": "Refused wrongly", "failed": "Failed",
    "latency_p50_s": "Answer, median s", "latency_p95_s": "Answer, 95th percentile s",
    "first_token_p50_s": "First words, median s", "first_token_p95_s": "First words, 95th percentile s",
}  # fmt: skip
SHOWS = {"all": "All", "wrong": "Wrong", "refused": "Refused wrongly", "uncited": "Uncited"}
WRONG_BELOW = 0.3
"""F1 of words below which an answer shares too little with the known ones to be right."""


@dataclass(frozen=True, slots=True)
class Line:
    """One metric over the runs: ``points`` for an SVG polyline of 600 by 160, ``last`` the newest value."""

    name: str
    points: str
    dots: tuple[tuple[str, str], ...]
    last: float


def overview(organization: Organization) -> dict[str, Any]:
    """The runs, newest first, their trend and the number of questions."""
    with tenant_scope(organization):
        runs = list(EvaluationRun.objects.all()[:RUNS])
        questions = EvaluationQuestion.objects.count()
    done = [run for run in reversed(runs) if run.status == EvaluationRun.Status.DONE]
    return {
        "runs": [{"run": run, "shown": _shown(run.metrics, TREND)} for run in runs],
        "columns": [label for _, label in TREND],
        "trend": trend(done),
        "question_count": questions,
        "under_way": any(run.status in ("queued", "running") for run in runs),
    }


def trend(runs: Sequence[EvaluationRun]) -> SafeString | str:
    """A plot of the metrics over the runs, oldest first; nothing for fewer than two."""
    lines = [line for name, label in TREND if (line := _line(runs, name, label)) is not None]
    if len(runs) < 2 or not lines:
        return ""
    drawn = format_html_join(
        "",
        '<g class="series-{}"><polyline points="{}"/>{}</g>',
        (
            (n, line.points, format_html_join("", '<circle cx="{}" cy="{}" r="3"/>', line.dots))
            for n, line in enumerate(lines)
        ),
    )
    rules = format_html_join(
        "",
        '<line class="rule" x1="40" x2="640" y1="{0}" y2="{0}"/><text x="34" y="{1}" text-anchor="end">{2}</text>',
        ((170 - 160 * part / 4, 174 - 160 * part / 4, f"{part / 4:g}") for part in range(5)),
    )
    said = "; ".join(f"{line.name} {line.last:.2f}" for line in lines)
    legend = format_html_join(
        "",
        '<li class="series-{}"><span aria-hidden="true"></span>{} <strong>{}</strong></li>',
        ((n, line.name, f"{line.last:.2f}") for n, line in enumerate(lines)),
    )
    return format_html(
        '<figure class="trend"><svg viewBox="0 0 650 180" role="img" aria-label="Metrics of {} runs. The last: {}">{}{}</svg>'
        '<figcaption><ul class="legend">{}</ul></figcaption></figure>',
        len(runs), said, rules, drawn, legend,
    )  # fmt: skip


def run_page(organization: Organization, run_id: UUID, show: str) -> dict[str, Any]:
    """A run with its results, filtered. Raises ``EvaluationRun.DoesNotExist``."""
    with tenant_scope(organization):
        run = EvaluationRun.objects.get(id=run_id)
        results = EvaluationResult.objects.filter(run=run)
        counts = {name: filtered(results, name).count() for name in SHOWS}
        rows = list(filtered(results, show)[:RESULTS])
    return {
        "run": run,
        "metrics": _shown(run.metrics, tuple(NAMES.items())),
        "results": rows,
        "show": show,
        "shows": [(name, label, counts[name]) for name, label in SHOWS.items()],
        "more": counts[show] - len(rows),
    }


def filtered(results: QuerySet[EvaluationResult], show: str) -> QuerySet[EvaluationResult]:
    """Those that ``show`` names: wrong (too little of the known answer, or answered though it cannot be), refused wrongly,
    or with a sentence without citation."""
    match show:
        case "wrong":
            little = Q(answerable=True, status="answered", metrics__token_f1__lt=WRONG_BELOW)
            return results.filter(little | Q(answerable=False, status="answered") | Q(status="failed"))
        case "refused":
            return results.filter(answerable=True, status="not_found")
        case "uncited":
            return results.filter(status="answered", metrics__citation_recall__lt=1)
    return results


def result_page(organization: Organization, run_id: UUID, number: int) -> dict[str, Any]:
    """One question of a run. Raises ``EvaluationResult.DoesNotExist``."""
    with tenant_scope(organization):
        result = EvaluationResult.objects.select_related("run").get(run_id=run_id, number=number)
        run = result.run
    own = not organization.is_internal
    slug = organization.slug
    return {
        "run": run,
        "result": result,
        "metrics": sorted(result.metrics.items()),
        "timings": sorted(result.timings.items()),
        "citations": [_with_url(slug, c) if own else c for c in result.citations],
        "passages": [_with_url(slug, p) if own else p for p in result.passages],
        "configuration": sorted(run.configuration.get("settings", {}).items()),
        "code": run.configuration.get("code", ""),
    }


def _with_url(slug: str, place: dict[str, Any]) -> dict[str, Any]:
    return {**place, "url": citation_url(slug, place)}


def _shown(metrics: dict[str, Any], names: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(label, _text(metrics.get(name))) for name, label in names if name in metrics or len(names) <= 5]


def _text(value: Any) -> str:
    if value is None:
        return "–"
    return str(value) if isinstance(value, int) else f"{value:.2f}"


def _line(runs: Sequence[EvaluationRun], name: str, label: str) -> Line | None:
    width = 600 / max(1, len(runs) - 1)
    values = [(n, run.metrics[name]) for n, run in enumerate(runs) if name in run.metrics]
    if len(values) < 2:
        return None
    places = tuple((f"{40 + n * width:.1f}", f"{170 - 160 * min(1.0, value):.1f}") for n, value in values)
    return Line(label, " ".join(f"{x},{y}" for x, y in places), places, float(values[-1][1]))
