"""Evaluations and feedback over the API. Shells: each view parses, makes one call and renders."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.exceptions import NotFound, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from search.api import ApiView, asker_of
from search.evaluation import feedback
from search.evaluation.models import EvaluationResult, EvaluationRun, Feedback
from search.evaluation.pages import SHOWS, filtered
from search.paging import PAGE_PARAMETERS, page_of, page_response
from tenants.authentication import credential
from tenants.scope import tenant_scope

_GONE = OpenApiResponse(description="There is nothing here for this key.")
_UNKNOWN = OpenApiResponse(description="There is no such `show`, or no page gave this cursor.")

_OF_A_RUN: tuple[str, ...] = (
    "id", "suite", "status", "error", "done", "total", "model", "embedder", "metrics", "created_at", "duration_s",
)  # fmt: skip


class RunSerializer(serializers.ModelSerializer[EvaluationRun]):
    class Meta:
        model = EvaluationRun
        fields = read_only_fields = _OF_A_RUN


class EvaluationResultSerializer(serializers.ModelSerializer[EvaluationResult]):
    class Meta:
        model = EvaluationResult
        fields = (
            "number", "question", "answerable", "answers", "gold", "query", "status", "answer", "citations",
            "passages", "metrics", "timings", "error_code",
        )  # fmt: skip
        read_only_fields = fields


class RunDetailSerializer(serializers.ModelSerializer[EvaluationRun]):
    class Meta:
        model = EvaluationRun
        fields = read_only_fields = (*_OF_A_RUN, "configuration")


class FeedbackRequestSerializer(serializers.Serializer[Any]):
    helpful = serializers.BooleanField()
    reasons = serializers.ListField(
        child=serializers.ChoiceField(choices=Feedback.Reason.choices),
        required=False,
        default=list,
        max_length=6,
    )
    comment = serializers.CharField(
        required=False, default="", allow_blank=True, max_length=feedback.LONGEST_COMMENT
    )


class FeedbackSerializer(serializers.ModelSerializer[Feedback]):
    class Meta:
        model = Feedback
        fields = ("id", "helpful", "reasons", "comment", "created_at")
        read_only_fields = fields


class EvaluationRuns(ApiView):
    """The evaluations of the organisation's own questions."""

    required_scopes = {"GET": "write"}

    @extend_schema(
        operation_id="evaluation_runs_list",
        summary="List evaluations, newest first",
        parameters=PAGE_PARAMETERS,
        responses={200: page_of(RunSerializer)},
    )
    def get(self, request: Request) -> Response:
        with tenant_scope(credential(request).organization):
            return page_response(
                self,
                request,
                EvaluationRun.objects.all(),
                lambda runs: RunSerializer(runs, many=True).data,
            )


class EvaluationRunDetail(ApiView):
    """One evaluation."""

    required_scopes = {"GET": "write"}

    @extend_schema(
        operation_id="evaluation_runs_retrieve",
        summary="Look at an evaluation",
        responses={200: RunDetailSerializer, 404: _GONE},
    )
    def get(self, request: Request, run_id: UUID) -> Response:
        with tenant_scope(credential(request).organization):
            return Response(RunDetailSerializer(_run(run_id)).data)


class EvaluationResults(ApiView):
    """What came of an evaluation's questions."""

    required_scopes = {"GET": "write"}

    @extend_schema(
        operation_id="evaluation_results_list",
        summary="List an evaluation's questions with their answers",
        parameters=[
            OpenApiParameter("show", str, enum=list(SHOWS), description="Only these; `all` by default."),
            *PAGE_PARAMETERS,
        ],
        responses={200: page_of(EvaluationResultSerializer), 400: _UNKNOWN, 404: _GONE},
    )
    def get(self, request: Request, run_id: UUID) -> Response:
        show = request.query_params.get("show", "all")
        if show not in SHOWS:
            raise ValidationError({"show": [f"One of {', '.join(SHOWS)}."]})
        with tenant_scope(credential(request).organization):
            return page_response(
                self,
                request,
                filtered(EvaluationResult.objects.filter(run=_run(run_id)), show),
                lambda results: EvaluationResultSerializer(results, many=True).data,
                ordering=("number",),
            )


class AnswerFeedback(ApiView):
    """What the asker thinks of an answer."""

    required_scopes = {"POST": "read"}

    @extend_schema(
        operation_id="answers_feedback",
        summary="Say what you think of an answer",
        description="Only whoever asked may. Saying it again replaces what was said before. `reasons` are of an answer that "
        "is not helpful.",
        request=FeedbackRequestSerializer,
        responses={201: FeedbackSerializer, 400: OpenApiResponse(description="There is no complete answer yet."), 404: _GONE},
    )  # fmt: skip
    def post(self, request: Request, answer_id: UUID) -> Response:
        sent = FeedbackRequestSerializer(data=request.data)
        sent.is_valid(raise_exception=True)
        try:
            given = feedback.give(asker_of(request), answer_id, **sent.validated_data)
        except feedback.NotAnswered as error:
            raise ValidationError(str(error)) from error
        return Response(FeedbackSerializer(given).data, status=201)


def _run(run_id: UUID) -> EvaluationRun:
    """A run of the open scope. Raises ``NotFound``."""
    run = EvaluationRun.objects.filter(id=run_id).first()
    if run is None:
        raise NotFound
    return run
