"""Runs of evaluations, their results, an organisation's own questions, and what readers thought of answers.

Each row belongs to one organisation like every other; those of a public suite to the internal one that holds its documents.
"""

from __future__ import annotations

import uuid

from django.conf import settings
from django.db import models
from django.utils import timezone

from search.models import TenantModel, Turn


class EvaluationCorpus(TenantModel):
    """What the documents of an internal organisation were made from, so that they are made once."""

    suite = models.CharField(max_length=120)
    rows_made_from = models.CharField(max_length=64, blank=True)
    """Hash of the suite's documents, the embedder and the way of cutting; empty while they are being made."""
    index_made_from = models.CharField(max_length=64, blank=True)
    """Hash of the way of indexing."""
    passages = models.IntegerField(default=0)
    made_at = models.DateTimeField(null=True)

    class Meta(TenantModel.Meta):
        constraints = [models.UniqueConstraint(fields=["organization"], name="evaluation_corpus_once")]

    def __str__(self) -> str:
        return self.suite


class EvaluationQuestion(TenantModel):
    """A question of an organisation's own set. ``documents`` are names as people gave them: a title, a file name, an
    external id or an id."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    question = models.TextField()
    answerable = models.BooleanField(null=True)
    answers = models.JSONField(default=list, blank=True)
    documents = models.JSONField(default=list, blank=True)
    pages = models.JSONField(default=list, blank=True)
    """Page numbers from 1, of any of the documents."""
    created_at = models.DateTimeField(default=timezone.now)

    class Meta(TenantModel.Meta):
        ordering = ["created_at", "id"]

    def __str__(self) -> str:
        return self.question[:80]


class EvaluationRun(TenantModel):
    """One run, which is also the job: see :mod:`search.evaluation.jobs`."""

    class Status(models.TextChoices):
        QUEUED = "queued"
        RUNNING = "running"
        DONE = "done"
        FAILED = "failed"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    suite = models.CharField(max_length=120)
    options = models.JSONField(default=dict)
    """What was asked for: source, split, limit and so on."""
    configuration = models.JSONField(default=dict)
    """The settings and versions that it ran with."""
    model = models.CharField(max_length=200, blank=True)
    embedder = models.CharField(max_length=200, blank=True)
    metrics = models.JSONField(default=dict)
    status = models.CharField(max_length=10, choices=Status.choices, default=Status.QUEUED)
    done = models.IntegerField(default=0)
    total = models.IntegerField(default=0)
    error = models.CharField(max_length=500, blank=True)
    duration_s = models.FloatField(null=True)
    attempts = models.IntegerField(default=0)
    token = models.UUIDField(null=True)
    heartbeat_at = models.DateTimeField(null=True)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+"
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta(TenantModel.Meta):
        ordering = ["-created_at"]
        indexes = [models.Index(fields=["status", "created_at"], name="evaluation_due")]

    def __str__(self) -> str:
        return f"{self.suite} {self.status}"


class EvaluationResult(TenantModel):
    """What came of one question. ``citations`` and ``passages`` are places in documents, as turns keep them."""

    run = models.ForeignKey(EvaluationRun, on_delete=models.CASCADE, related_name="results")
    number = models.IntegerField()
    key = models.CharField(max_length=300)
    question = models.TextField()
    earlier = models.JSONField(default=list)
    answerable = models.BooleanField(null=True)
    answers = models.JSONField(default=list)
    gold = models.JSONField(default=list)
    """Documents (and pages) that hold the answer, by their names in the suite."""
    query = models.TextField(blank=True)
    """What was searched for."""
    status = models.CharField(max_length=10)
    answer = models.TextField(blank=True)
    citations = models.JSONField(default=list)
    passages = models.JSONField(default=list)
    metrics = models.JSONField(default=dict)
    timings = models.JSONField(default=dict)
    error_code = models.CharField(max_length=40, blank=True)

    class Meta(TenantModel.Meta):
        ordering = ["number"]
        constraints = [models.UniqueConstraint(fields=["run", "number"], name="evaluation_result_once")]

    def __str__(self) -> str:
        return self.question[:80]


class Feedback(TenantModel):
    """What the asker thought of an answer, with the answer as it was. One for each answer."""

    class Reason(models.TextChoices):
        WRONG = "wrong", "It is wrong"
        INCOMPLETE = "incomplete", "It is incomplete"
        WRONG_SOURCE = "wrong_source", "The source is wrong"
        NOT_FOUND = "not_found", "Not found although it is there"
        OUTDATED = "outdated", "It is outdated"
        OTHER = "other", "Something else"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    turn = models.ForeignKey(Turn, null=True, on_delete=models.SET_NULL, related_name="+")
    """None once its conversation was deleted."""
    helpful = models.BooleanField()
    reasons = models.JSONField(default=list, blank=True)
    comment = models.TextField(blank=True)
    question = models.TextField()
    answer = models.TextField(blank=True)
    status = models.CharField(max_length=10)
    citations = models.JSONField(default=list)
    passages = models.JSONField(default=list)
    configuration = models.JSONField(default=dict)
    handled_at = models.DateTimeField(null=True)
    evaluation_question = models.ForeignKey(
        EvaluationQuestion, null=True, on_delete=models.SET_NULL, related_name="+"
    )
    created_at = models.DateTimeField(default=timezone.now)

    class Meta(TenantModel.Meta):
        ordering = ["-created_at"]
        constraints = [models.UniqueConstraint(fields=["turn"], name="feedback_once_a_turn")]

    def __str__(self) -> str:
        return f"{'up' if self.helpful else 'down'}: {self.question[:60]}"
