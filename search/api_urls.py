"""The routes of searching and asking under ``/api/v1/``."""

from __future__ import annotations

from django.urls import path

from search import api
from search.evaluation import api as evaluation_api

urlpatterns = [
    path("search", api.Search.as_view(), name="api-search"),
    path("answers", api.Answers.as_view(), name="api-answers"),
    path("answers/<uuid:answer_id>", api.AnswerDetail.as_view(), name="api-answer"),
    path("answers/<uuid:answer_id>/stop", api.AnswerStop.as_view(), name="api-answer-stop"),
    path(
        "answers/<uuid:answer_id>/feedback",
        evaluation_api.AnswerFeedback.as_view(),
        name="api-answer-feedback",
    ),
    path("evaluation/runs", evaluation_api.EvaluationRuns.as_view(), name="api-evaluation-runs"),
    path(
        "evaluation/runs/<uuid:run_id>",
        evaluation_api.EvaluationRunDetail.as_view(),
        name="api-evaluation-run",
    ),
    path(
        "evaluation/runs/<uuid:run_id>/results",
        evaluation_api.EvaluationResults.as_view(),
        name="api-evaluation-results",
    ),
    path("conversations", api.Conversations.as_view(), name="api-conversations"),
    path("conversations/<uuid:conversation_id>", api.ConversationDetail.as_view(), name="api-conversation"),
]
