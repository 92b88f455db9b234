"""The corpus and the conversations of an organisation. SQL is the record; the vector index is a projection.

Every table here carries ``organization`` and is reached through ``tenants.scope`` only.
"""

from __future__ import annotations

import uuid
from typing import Any

from django.conf import settings
from django.db import models
from django.utils import timezone

from tenants.models import Organization
from tenants.scope import TenantManager, check_owner


class TenantModel(models.Model):
    """A row of one organisation."""

    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="+")
    objects = TenantManager()

    class Meta:
        abstract = True
        base_manager_name = "objects"

    def delete(self, using: Any = None, keep_parents: bool = False) -> tuple[int, dict[str, int]]:
        """Deletes the open scope's row with this primary key, which alone would reach the row of anybody."""
        check_owner(self)
        return type(self)._base_manager.using(using).filter(pk=self.pk).delete()


class Collection(TenantModel):
    """A set of documents. Every organisation has one named "General" from the start."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=120)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta(TenantModel.Meta):
        constraints = [models.UniqueConstraint(fields=["organization", "name"], name="collection_name_once")]

    def __str__(self) -> str:
        return self.name


class Document(TenantModel):
    """What a person uploaded, under one identity over all its versions.

    ``published`` is the one pointer that makes a version visible; a hit of any other version is dropped.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    collection = models.ForeignKey(Collection, on_delete=models.CASCADE, related_name="documents")
    title = models.CharField(max_length=500)
    titled_by_file = models.BooleanField(default=False)
    """Whether ``title`` is what the file says about itself, so that the next version's may take its place."""
    filename = models.CharField(max_length=500)
    external_id = models.CharField(max_length=200, null=True, blank=True)  # noqa: DJ001 unique only when given
    published = models.OneToOneField(
        "DocumentVersion", null=True, on_delete=models.SET_NULL, related_name="published_for"
    )
    uploaded_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+"
    )
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta(TenantModel.Meta):
        constraints = [
            models.UniqueConstraint(fields=["organization", "external_id"], name="external_id_once"),
        ]
        indexes = [models.Index(fields=["organization", "-created_at"])]

    def __str__(self) -> str:
        return self.title


class DocumentVersion(TenantModel):
    """One uploaded file of a document, with what its parser found."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    document = models.ForeignKey(Document, on_delete=models.CASCADE, related_name="versions")
    file = models.CharField(max_length=200)
    sha256 = models.CharField(max_length=64)
    size = models.BigIntegerField()
    media_type = models.CharField(max_length=120, blank=True)
    author = models.CharField(max_length=300, blank=True)
    language = models.CharField(max_length=8, blank=True)
    dated = models.DateField(null=True)
    page_count = models.IntegerField(default=0)
    pages_without_text = models.JSONField(default=list)
    pages_by_ocr = models.JSONField(default=list)
    """Numbers of the pages whose text was recognised in their picture."""
    pages_with_hidden_text = models.JSONField(default=list)
    """Numbers of the pages of which text was left out that their readers do not see."""
    protected = models.BooleanField(default=False)
    """Whether only a password opened the file: it is not kept, so that no page can be drawn later."""
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta(TenantModel.Meta):
        indexes = [models.Index(fields=["organization", "sha256"])]

    def __str__(self) -> str:
        return f"{self.document_id} {self.sha256[:8]}"


class Page(TenantModel):
    """The text of one page; chunk offsets count its code points."""

    version = models.ForeignKey(DocumentVersion, on_delete=models.CASCADE, related_name="pages")
    number = models.IntegerField()
    label = models.CharField(max_length=200, blank=True)
    text = models.TextField(blank=True)

    class Meta(TenantModel.Meta):
        constraints = [models.UniqueConstraint(fields=["version", "number"], name="page_once")]

    def __str__(self) -> str:
        return f"page {self.number}"


class Chunk(TenantModel):
    """A passage: ``page.text[start:end] == text``. ``id`` is UUIDv5 of (organisation, version, ordinal) and is
    also the id of the point in the index; ``embedding`` holds little-endian float16."""

    id = models.UUIDField(primary_key=True, editable=False)
    version = models.ForeignKey(DocumentVersion, on_delete=models.CASCADE, related_name="chunks")
    ordinal = models.IntegerField()
    page = models.IntegerField()
    start = models.IntegerField()
    end = models.IntegerField()
    text = models.TextField()
    headings = models.JSONField(default=list)
    place = models.CharField(max_length=200, blank=True, default="")
    """Where on its page, as far as its format counts there ("rows 12–30"); see :mod:`search.places`."""
    embedding = models.BinaryField()
    embedding_model = models.CharField(max_length=80)

    class Meta(TenantModel.Meta):
        constraints = [models.UniqueConstraint(fields=["version", "ordinal"], name="chunk_once")]

    def __str__(self) -> str:
        return f"chunk {self.ordinal}"


class Conversation(TenantModel):
    """The questions of one person, in order."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.CASCADE, related_name="+")
    api_key_id = models.BigIntegerField(null=True)
    title = models.CharField(max_length=200, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return self.title


class Turn(TenantModel):
    """A question and its answer. ``citations`` is a list of the dataclass of :mod:`search.citations`, as JSON."""

    class Status(models.TextChoices):
        PENDING = "pending"
        STREAMING = "streaming"
        ANSWERED = "answered"
        NOT_FOUND = "not_found"
        STOPPED = "stopped"
        FAILED = "failed"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    conversation = models.ForeignKey(Conversation, on_delete=models.CASCADE, related_name="turns")
    question = models.TextField()
    filters = models.JSONField(default=dict)
    status = models.CharField(max_length=10, choices=Status.choices, default=Status.PENDING)
    answer = models.TextField(blank=True)
    citations = models.JSONField(default=list)
    sources = models.JSONField(default=list)
    conflicts = models.JSONField(default=list)
    """Places in documents that disagree, each with the number of its conflict (:mod:`search.conflicts`)."""
    prompt_tokens = models.IntegerField(default=0)
    completion_tokens = models.IntegerField(default=0)
    model = models.CharField(max_length=200, blank=True, default="")
    """The language model that was asked, by the name of its route; empty where none was, or before this was kept."""
    error_code = models.CharField(max_length=40, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    begun_at = models.DateTimeField(default=timezone.now)
    """When its answer was last begun: names the run. The place in the conversation is ``created_at``."""

    class Meta(TenantModel.Meta):
        ordering = ["created_at"]

    def __str__(self) -> str:
        return self.question[:80]


class ServedCollection(models.Model):
    """Which collection of the Qdrant server is the index of an organisation, once it was made anew: the one pointer that
    every process reads. Without a row it is the one named after the organisation's number.
    """

    organization_key = models.BigIntegerField(unique=True)
    name = models.CharField(max_length=60)

    def __str__(self) -> str:
        return self.name


class MaintenanceJob(models.Model):
    """Work on the index that an operator's command asks of the process that holds it: see :mod:`search.maintenance`.

    It is of the installation, not of an organisation, and names one at most by its slug.
    """

    class Status(models.TextChoices):
        QUEUED = "queued"
        RUNNING = "running"
        DONE = "done"
        FAILED = "failed"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    act = models.CharField(max_length=40)
    arguments = models.JSONField(default=dict)
    status = models.CharField(max_length=10, choices=Status.choices, default=Status.QUEUED)
    output = models.TextField(blank=True)
    exit_status = models.IntegerField(null=True)
    attempts = models.IntegerField(default=0)
    token = models.UUIDField(null=True)
    """Of whoever works on it: who lost it writes nothing more."""
    heartbeat_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        indexes = [models.Index(fields=["status", "created_at"])]

    def __str__(self) -> str:
        return f"{self.act} {self.status}"


import search.evaluation.models  # noqa: E402, F401 further tables of this application
