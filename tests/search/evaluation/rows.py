"""Runs and results as rows, where a test is about what becomes of them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from search.evaluation.models import EvaluationResult, EvaluationRun
from tenants.models import Organization
from tenants.scope import tenant_scope


def add_run(
    organization: Organization,
    *results: dict[str, Any],
    metrics: dict[str, float] | None = None,
    created_at: datetime | None = None,
    **values: Any,
) -> EvaluationRun:
    """A run that has ended, with results numbered from 1; each says what differs from a right answer."""
    with tenant_scope(organization):
        run = EvaluationRun.objects.create(
            **{
                "suite": "own questions",
                "status": "done",
                "total": len(results),
                "metrics": metrics or {},
                **values,
            }
        )
        if created_at is not None:
            EvaluationRun.objects.filter(id=run.id).update(created_at=created_at)
        EvaluationResult.objects.bulk_create(
            EvaluationResult(organization=organization, run=run, number=n, **(_right(n) | each))
            for n, each in enumerate(results, 1)
        )
        return EvaluationRun.objects.select_related("organization").get(id=run.id)


def _right(number: int) -> dict[str, Any]:
    return {
        "key": f"q{number}",
        "question": f"Question {number}?",
        "answerable": True,
        "status": "answered",
        "answer": f"Answer {number} [1].",
        "metrics": {"token_f1": 1.0, "citation_recall": 1.0},
    }


WRONG: dict[str, Any] = {"metrics": {"token_f1": 0.1, "citation_recall": 1.0}}
REFUSED: dict[str, Any] = {
    "status": "not_found", "answer": "", "metrics": {"token_f1": 0.0, "citation_recall": 0.0, "refused": 1.0},
}  # fmt: skip
UNCITED: dict[str, Any] = {"metrics": {"token_f1": 1.0, "citation_recall": 0.0}}
