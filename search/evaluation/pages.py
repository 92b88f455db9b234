"""What the pages of evaluations show: plain values, read within the organisation's scope.

What always holds: an organisation's own pages and the operator's of a public suite show the same values; which of the two
an address leads to is told from the organisation alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.db.models import Q, QuerySet
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from search.evaluation.models import EvaluationCorpus, EvaluationQuestion, EvaluationResult, EvaluationRun
from search.links import citation_url
from tenants.models import Organization
from tenants.scope import tenant_scope

Status = EvaluationRun.Status
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
    "derived_page_hit@5": "Derived page among the first 5", "span_recall@5": "Characters found, recall",
    "span_precision@5": "Characters found, precision", "span_iou@5": "Characters found, overlap",
    "exact_match": "Exact match", "refusal_precision": "Refusals, precision", "refusal_recall": "Refusals, recall",
    "refusal_f1": "Refusals, F1", "false_refusal_rate": "Refused wrongly", "failed": "Failed",
    "citation_document_precision": "Citations in the right document",
    "latency_p50_s": "Answer, median s", "latency_p95_s": "Answer, 95th percentile s",
    "first_token_p50_s": "First words, median s", "first_token_p95_s": "First words, 95th percentile s",
    "retrieval_p50_s": "Search, median s", "retrieval_p95_s": "Search, 95th percentile s",
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
    done = [run for run in reversed(runs) if run.status == Status.DONE]
    return {
        "home": organization,
        "runs": [_run_row(organization, run) for run in runs],
        "columns": [label for _, label in TREND],
        "trend": trend(done),
        "question_count": questions,
        "under_way": any(run.status in ("queued", "running") for run in runs),
        "compare_url": address(organization, "evaluation-comparison") if len(done) > 1 else "",
    }


def suites() -> list[dict[str, Any]]:
    """The public suites by name, each with its newest run that has ended, what has changed since the run before, and the
    trend."""
    found = []
    for organization in Organization.objects.filter(is_internal=True).order_by("slug"):
        with tenant_scope(organization):
            runs = list(EvaluationRun.objects.filter(status=Status.DONE)[:RUNS])
            corpus = EvaluationCorpus.objects.first()
        newest = runs[0] if runs else None
        before = runs[1].metrics if len(runs) > 1 else {}
        found.append(
            {
                "name": corpus.suite if corpus is not None else organization.name,
                "url": address(organization, "evaluation"),
                "newest": newest,
                "run_url": address(organization, "evaluation-detail", newest.id) if newest else "",
                "metrics": _with_change(newest.metrics, before) if newest else [],
                "trend": trend(runs[::-1]),
            }
        )
    return found


def address(organization: Organization, name: str, *arguments: Any) -> str:
    """Where a page of its evaluations lies: below the operator's for a public suite, below its own else."""
    return reverse(
        f"operator-{name}" if organization.is_internal else name, args=[organization.slug, *arguments]
    )


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


def run_page(organization: Organization, run_id: UUID, query: Mapping[str, str]) -> dict[str, Any]:
    """A run with its results: those that ``show`` of the query names, numbered higher than ``after``. Raises
    ``EvaluationRun.DoesNotExist``."""
    show = query.get("show", "all")
    show = show if show in SHOWS else "all"
    after = _number(query.get("after", ""))
    with tenant_scope(organization):
        run = EvaluationRun.objects.get(id=run_id)
        results = EvaluationResult.objects.filter(run=run)
        counts = {name: filtered(results, name).count() for name in SHOWS}
        rows = list(filtered(results, show).filter(number__gt=after)[: RESULTS + 1])
        ended = EvaluationRun.objects.filter(status=Status.DONE, suite=run.suite)
        before = ended.filter(created_at__lt=run.created_at).first() if run.status == Status.DONE else None
    shown = rows[:RESULTS]
    compared = urlencode({"before": before.id, "after": run.id}) if before is not None else ""
    return {
        "run": run,
        "runs_url": address(organization, "evaluation"),
        "compare_url": f"{address(organization, 'evaluation-comparison')}?{compared}" if compared else "",
        "metrics": _shown(run.metrics, tuple(NAMES.items())),
        "results": [
            {"row": row, "url": address(organization, "evaluation-result", run.id, row.number)}
            for row in shown
        ],
        "show": show,
        "shows": [(name, label, counts[name]) for name, label in SHOWS.items()],
        "after": after,
        "next": shown[-1].number if len(rows) > len(shown) else None,
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
        "run_url": address(organization, "evaluation-detail", run.id),
        "result": result,
        "metrics": sorted(result.metrics.items()),
        "timings": sorted(result.timings.items()),
        "citations": [_with_url(slug, c) if own else c for c in result.citations],
        "passages": [_with_url(slug, p) if own else p for p in result.passages],
        "configuration": sorted(run.configuration.get("settings", {}).items()),
        "code": run.configuration.get("code", ""),
    }


def _run_row(organization: Organization, run: EvaluationRun) -> dict[str, Any]:
    url = address(organization, "evaluation-detail", run.id)
    return {"run": run, "url": url, "shown": _shown(run.metrics, TREND)}


def signed(change: float, form: str) -> str:
    """A difference with its sign as people print it."""
    return f"{change:+{form}}".replace("-", "−")


def _with_change(metrics: dict[str, Any], before: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Label, value and change of each metric of the trend that there is."""
    return [
        (label, _text(metrics[name]), signed(metrics[name] - before[name], ".2f") if name in before else "")
        for name, label in TREND
        if name in metrics
    ]


def _number(text: str) -> int:
    return int(text) if text.isdecimal() and len(text) < 10 else 0


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
