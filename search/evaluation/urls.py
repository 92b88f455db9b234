"""The routes of evaluations and feedback under ``/o/<slug>/``."""

from __future__ import annotations

from django.urls import path

from search.evaluation import views

_RUN = "evaluation/runs/<uuid:run_id>/"
_QUESTION = "evaluation/questions/<uuid:question_id>/"

urlpatterns = [
    path("evaluation/", views.evaluation, name="evaluation"),
    path("evaluation/run", views.evaluation_run, name="evaluation-run"),
    path(_RUN, views.evaluation_detail, name="evaluation-detail"),
    path(f"{_RUN}<int:number>/", views.evaluation_result, name="evaluation-result"),
    path("evaluation/compare", views.evaluation_comparison, name="evaluation-comparison"),
    path("evaluation/questions/", views.questions, name="evaluation-questions"),
    path("evaluation/questions/upload", views.questions_upload, name="evaluation-questions-upload"),
    path(_QUESTION, views.question, name="evaluation-question"),
    path(f"{_QUESTION}remove", views.question_remove, name="evaluation-question-remove"),
    path("feedback/", views.inbox, name="feedback"),
    path("feedback/<uuid:feedback_id>/handle", views.feedback_handle, name="feedback-handle"),
    path("feedback/<uuid:feedback_id>/question", views.feedback_question, name="feedback-question"),
    path("turns/<uuid:turn_id>/feedback", views.turn_feedback, name="turn-feedback"),
]
