"""The operator's pages of evaluations of public suites, whose documents and runs belong to nobody's organisation.

What always holds: they show internal organisations alone. The evaluations of an organisation's own questions, which quote
its documents, are for its own administrators.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.views.decorators.http import require_safe

from config.operator_page import for_the_operator
from search.evaluation import comparing, pages
from search.evaluation.models import EvaluationResult, EvaluationRun
from tenants.models import Organization


@require_safe
def evaluations_page(request: HttpRequest) -> HttpResponseBase:
    """Every suite with its newest metrics and their trend."""
    return for_the_operator(request, "config/evaluations.html", lambda: {"suites": pages.suites()})


@require_safe
def suite_page(request: HttpRequest, suite: str) -> HttpResponseBase:
    """The runs of a suite and their trend."""
    return _page(request, "config/evaluations_suite.html", suite, pages.overview)


@require_safe
def run_page(request: HttpRequest, suite: str, run_id: UUID) -> HttpResponseBase:
    """A run with its questions; ``?show=`` narrows them."""
    return _page(
        request, "search/evaluation_run.html", suite, lambda home: pages.run_page(home, run_id, request.GET)
    )


@require_safe
def result_page(request: HttpRequest, suite: str, run_id: UUID, number: int) -> HttpResponseBase:
    """One question of a run with its passages and its answer."""
    return _page(
        request,
        "search/evaluation_result.html",
        suite,
        lambda home: pages.result_page(home, run_id, number),
    )


@require_safe
def comparison_page(request: HttpRequest, suite: str) -> HttpResponseBase:
    """Two runs of a suite beside each other."""
    return _page(
        request,
        "search/evaluation_comparison.html",
        suite,
        lambda home: comparing.comparison_page(home, request.GET),
    )


def _page(
    request: HttpRequest, template: str, suite: str, context: Callable[[Organization], dict[str, Any]]
) -> HttpResponseBase:
    def of_the_suite() -> dict[str, Any]:
        try:
            return context(Organization.objects.get(slug=suite, is_internal=True))
        except (
            Organization.DoesNotExist,
            EvaluationRun.DoesNotExist,
            EvaluationResult.DoesNotExist,
        ) as error:
            raise Http404 from error

    return for_the_operator(request, template, of_the_suite)
