"""The door of the corpus: a file comes in and leaves as a document, a version and a job, all or none.

What always holds: the bytes lie under a generated key before any row names them, and are removed when the
rows could not be written; the same content is one document of its organisation, also when it arrives
twice at once; the name that a person gave is only ever shown.
"""

from __future__ import annotations

import hashlib
import logging
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.conf import settings
from django.core.files.base import File
from django.db import transaction
from django.db.models import Q

from ingestion import files, jobs
from ingestion.display_name import display_name
from ingestion.guards import IngestionFailure
from ingestion.models import IdempotencyKey, IngestionJob
from ingestion.sniff import sniff
from search.models import Collection, Document, DocumentVersion
from tenants.models import Organization
from tenants.scope import tenant_scope

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser

logger = logging.getLogger(__name__)

DEFAULT_COLLECTION = "General"
LONGEST_EXTERNAL_ID = 200
HEAD_BYTES = 1 << 20
ZIP = b"PK"


class UploadRefused(Exception):
    """An upload that is not accepted. ``status`` is the HTTP status that says so."""

    status = 400

    def __init__(self, code: str, message: str, remedy: str, status: int | None = None) -> None:
        super().__init__(message)
        self.code, self.message, self.remedy = code, message, remedy
        self.status = status or self.status


@dataclass(frozen=True, slots=True)
class _Content:
    sha256: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Upload:
    organization: Organization
    user: Any
    filename: str
    title: str
    content: _Content
    key: str
    collection: Collection | None
    external_id: str | None
    replaces: UUID | None
    idempotency_key: str


def accept_upload(
    *,
    organization: Organization,
    user: AbstractBaseUser | None,
    name: str,
    stream: File[bytes],
    collection: Collection | None = None,
    external_id: str | None = None,
    replaces: UUID | None = None,
    title: str = "",
    idempotency_key: str = "",
) -> Document:
    """Stores the file and queues its ingestion; returns its document.

    ``replaces`` (a document's id) or an ``external_id`` that is already known makes it a new version of
    that document. Content that the organisation already has is not stored again: its document is
    returned, and its job queued anew when it had failed.

    Raises :class:`UploadRefused`: 400 empty, 404 unknown document, 409 the idempotency key was used for
    other content, 413 too large, 415 not a format that is read, 503 the storage takes no file.
    """
    shown = display_name(name)
    content = _measure(stream)
    refuse_unknown_format(stream, shown)
    upload = _Upload(
        organization=organization,
        user=user,
        filename=shown,
        title=display_name(title) if title else "",
        content=content,
        key=_store(organization, stream),
        collection=collection,
        external_id=(external_id or "")[:LONGEST_EXTERNAL_ID] or None,
        replaces=replaces,
        idempotency_key=idempotency_key,
    )
    try:
        document, kept = _record(upload)
    except BaseException:
        files.discard(upload.key)
        raise
    if not kept:
        files.discard(upload.key)
    return document


def _store(organization: Organization, stream: File[bytes]) -> str:
    try:
        return files.store(organization.pk, stream)
    except OSError as error:  # a full disk, most of all
        logger.exception("an upload could not be stored")
        raise UploadRefused(
            "storage_failed",
            "The file could not be stored.",
            "Try again later. If it stays so, tell the operator of this installation.",
            503,
        ) from error


def refuse_too_large(size: int | None) -> None:
    """Refuses by the announced size alone, before anything is read. Raises :class:`UploadRefused` (413)."""
    limit = int(settings.ENV.max_upload_mb) * 1_000_000
    if size is not None and size > limit:
        raise UploadRefused(
            "too_large",
            f"The file is larger than {settings.ENV.max_upload_mb} MB.",
            "Split it, or ask the operator to raise the limit.",
            413,
        )


def refuse_unknown_format(stream: File[bytes], filename: str) -> None:
    """Refuses what is plainly of no format that is read. Raises :class:`UploadRefused` (415).

    Only the beginning is looked at: an archive's directory, and whatever needs more, is judged in the
    parsing child under its limits.
    """
    stream.seek(0)
    head = stream.read(HEAD_BYTES)
    stream.seek(0)
    if head.startswith(ZIP):
        return
    with tempfile.NamedTemporaryFile(prefix="tessera-") as beginning:
        beginning.write(head)
        beginning.flush()
        try:
            sniff(Path(beginning.name), filename)
        except IngestionFailure as failure:
            if failure.code == "unsupported":
                raise UploadRefused(failure.code, str(failure), failure.remedy, 415) from failure


def _measure(stream: File[bytes]) -> _Content:
    digest, size = hashlib.sha256(), 0
    for part in stream.chunks():
        size += len(part)
        refuse_too_large(size)
        digest.update(part)
    if size == 0:
        raise UploadRefused("empty", "The file is empty.", "Check the file and upload it again.")
    stream.seek(0)
    return _Content(digest.hexdigest(), size)


def _record(upload: _Upload) -> tuple[Document, bool]:
    """The rows of an upload, in one transaction. False when its file is not needed: the content is known."""
    organization, content = upload.organization, upload.content
    with tenant_scope(organization), transaction.atomic():
        # Uploads of one organisation are recorded one after the other, so that the same file sent twice
        # at once meets itself. (SQLite's IMMEDIATE transactions do this by themselves.)
        Organization.objects.select_for_update(no_key=True).get(pk=organization.pk)
        if upload.idempotency_key:
            receipt = IdempotencyKey.objects.filter(key=upload.idempotency_key).first()
            if receipt is not None:
                if receipt.sha256 != content.sha256:
                    raise UploadRefused(
                        "idempotency_key_reused",
                        "This Idempotency-Key was used for another file.",
                        "Send a new key with every new upload.",
                        409,
                    )
                return receipt.document, False
        document = _target(upload)
        same = _version_with(content.sha256, document, anywhere=not (upload.replaces or upload.external_id))
        kept = same is None
        if same is not None:
            document = same.document
            if IngestionJob.objects.filter(version=same, status__in=_ENDED_BADLY).exists():
                jobs.retry(organization=organization, document=document)
        else:
            document = document or _new_document(upload)
            version = DocumentVersion.objects.create(
                organization=organization,
                document=document,
                file=upload.key,
                sha256=content.sha256,
                size=content.size,
            )
            jobs.enqueue(version)
            _rename(document, upload)
            transaction.on_commit(jobs.wake_workers)
        if upload.idempotency_key:
            IdempotencyKey.objects.create(
                organization=organization,
                key=upload.idempotency_key,
                document=document,
                sha256=content.sha256,
            )
        return document, kept


_ENDED_BADLY = [IngestionJob.Status.FAILED, IngestionJob.Status.CANCELLED]


def _target(upload: _Upload) -> Document | None:
    """The document that this upload is a new version of; None for a new document."""
    documents = Document.objects.select_for_update(
        no_key=True, of=("self",)
    )  # a deletion waits, or is waited for
    if upload.replaces is not None:
        document = documents.filter(id=upload.replaces).exclude(jobs__error_code=jobs.DELETED).first()
        if document is None:
            raise UploadRefused(
                "not_found", "There is no such document.", "It may have been deleted; upload it as new.", 404
            )
        return document
    if upload.external_id is not None:
        return documents.filter(external_id=upload.external_id).first()
    return None


def _version_with(sha256: str, document: Document | None, *, anywhere: bool) -> DocumentVersion | None:
    """A version with this content that is published or on its way: of the document, or of any."""
    versions = DocumentVersion.objects.filter(sha256=sha256).exclude(job__error_code=jobs.DELETED)
    versions = versions.select_related("document")
    if not anywhere:
        if document is None:
            return None
        newest = versions.model.objects.filter(document=document).order_by("-created_at").first()
        return newest if newest is not None and newest.sha256 == sha256 else None
    return (
        versions.filter(Q(published_for__isnull=False) | Q(job__status__in=_ON_ITS_WAY + _ENDED_BADLY))
        .order_by("created_at")
        .first()
    )


_ON_ITS_WAY = [IngestionJob.Status.QUEUED, IngestionJob.Status.PROCESSING]


def _rename(document: Document, upload: _Upload) -> None:
    """A title that was only the file's name follows the new file's name; one that was given stays."""
    title = upload.title or (upload.filename if document.title == document.filename else document.title)
    if (title, upload.filename) != (document.title, document.filename):
        document.title, document.filename = title, upload.filename
        document.save(update_fields=["title", "filename", "updated_at"])


def _new_document(upload: _Upload) -> Document:
    collection = upload.collection
    if collection is None:
        collection, _ = Collection.objects.get_or_create(
            organization=upload.organization, name=DEFAULT_COLLECTION
        )
    return Document.objects.create(
        organization=upload.organization,
        collection=collection,
        title=upload.title or upload.filename,
        filename=upload.filename,
        external_id=upload.external_id,
        uploaded_by=upload.user,
    )
