"""The job row: it *is* the work. A Celery message only says "look"."""

from __future__ import annotations

import uuid

from django.db import models

from search.models import Document, DocumentVersion, TenantModel


class Priority(models.IntegerChoices):
    """The class of a job: what a person waits for goes before what was brought by the thousand."""

    BULK = 0
    SINGLE = 1


class IngestionJob(TenantModel):
    """One version on its way into the index; claimed with a lease, renewed at each stage."""

    class Status(models.TextChoices):
        QUEUED = "queued"
        PROCESSING = "processing"
        READY = "ready"
        FAILED = "failed"
        CANCELLED = "cancelled"

    class Stage(models.TextChoices):
        QUEUED = "queued"
        PARSING = "parsing"
        EMBEDDING = "embedding"
        INDEXING = "indexing"
        DONE = "done"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    document = models.ForeignKey(Document, on_delete=models.CASCADE, related_name="jobs")
    version = models.OneToOneField(DocumentVersion, on_delete=models.CASCADE, related_name="job")
    status = models.CharField(max_length=10, choices=Status.choices, default=Status.QUEUED)
    stage = models.CharField(max_length=10, choices=Stage.choices, default=Stage.QUEUED)
    done = models.IntegerField(default=0)
    total = models.IntegerField(default=0)
    priority = models.IntegerField(choices=Priority.choices, default=Priority.SINGLE)
    attempts = models.IntegerField(default=0)
    interruptions = models.IntegerField(default=0)
    furthest = models.IntegerField(default=0)
    """The furthest point ever reached; getting past it resets ``interruptions``."""
    lease_token = models.UUIDField(null=True)
    lease_expires_at = models.DateTimeField(null=True)
    not_before = models.DateTimeField(null=True)
    started_at = models.DateTimeField(null=True)
    """When a worker last began with it."""
    stage_since = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)
    """When it became ready, failed or was cancelled."""
    error_code = models.CharField(max_length=40, blank=True)
    error_message = models.CharField(max_length=500, blank=True)
    error_remedy = models.CharField(max_length=500, blank=True)
    sealed_password = models.TextField(blank=True, default="")
    """See :mod:`ingestion.passwords`."""
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta(TenantModel.Meta):
        constraints = [
            models.CheckConstraint(
                condition=models.Q(priority__in=Priority.values), name="job_priority_known"
            ),
            models.CheckConstraint(
                condition=models.Q(status__in=["queued", "processing"]) | models.Q(sealed_password=""),
                name="job_password_until_it_ends",
            ),
        ]
        indexes = [
            # The head of an organisation's queue; what is due; what ended lately; what was begun last.
            models.Index(
                fields=["organization", "status", "priority", "created_at", "id", "not_before"],
                name="job_head",
            ),
            models.Index(fields=["status", "not_before"], name="job_due"),
            models.Index(fields=["status", "ended_at"], name="job_ended"),
            models.Index(fields=["started_at"], name="job_begun"),
        ]

    def __str__(self) -> str:
        return f"{self.document_id} {self.status}"


class QueueShare(TenantModel):
    """How much was worked for an organisation, in seconds of a virtual time (see :mod:`ingestion.shares`)."""

    service = models.FloatField(default=0.0)
    begun = models.FloatField(default=0.0)

    class Meta(TenantModel.Meta):
        constraints = [models.UniqueConstraint(fields=["organization"], name="queue_share_once")]

    def __str__(self) -> str:
        return f"{self.organization_id} {self.service:.1f} s"


class IndexCount(TenantModel):
    """How many points an organisation's index had, and how many it should have, when they were counted last."""

    DIFFERS = ~models.Q(points=models.F("rows"))

    points = models.IntegerField()
    rows = models.IntegerField()
    counted_at = models.DateTimeField()

    class Meta(TenantModel.Meta):
        constraints = [models.UniqueConstraint(fields=["organization"], name="index_count_once")]

    def __str__(self) -> str:
        return f"{self.organization_id}: {self.points} of {self.rows}"


class IdempotencyKey(TenantModel):
    """A caller's key for one upload: the same key again answers with the same document."""

    key = models.CharField(max_length=200)
    document = models.ForeignKey(Document, on_delete=models.CASCADE, related_name="+")
    sha256 = models.CharField(max_length=64)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta(TenantModel.Meta):
        constraints = [models.UniqueConstraint(fields=["organization", "key"], name="idempotency_key_once")]
        indexes = [models.Index(fields=["created_at"], name="idempotency_key_age")]

    def __str__(self) -> str:
        return self.key
