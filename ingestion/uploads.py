"""The door of the corpus: a file comes in and leaves as a document, a version and a job, all or none.

What always holds: the bytes lie under a generated key before any row names them, and are removed when the
rows could not be written; the same content is one document of its organisation, also when it arrives
twice at once; the name that a person gave is only ever shown.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.core.files.base import File
from django.db import transaction
from django.db.models import OuterRef, Q, Subquery

from ingestion import files, jobs, zips
from ingestion.display_name import display_name
from ingestion.intake import Stored, StoredUpload, take_in
from ingestion.models import IdempotencyKey, IngestionJob, Priority
from ingestion.refusals import UploadRefused as UploadRefused
from ingestion.refusals import refuse_full_queue
from search.models import Collection, Document, DocumentVersion
from tenants.models import Organization
from tenants.scope import tenant_scope

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser

DEFAULT_COLLECTION = "General"
LONGEST_EXTERNAL_ID = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class _Upload:
    organization: Organization
    user: Any
    filename: str
    title: str
    content: Stored
    priority: Priority
    collection: Collection | None
    external_id: str | None
    replaces: UUID | None
    idempotency_key: str
    password: str = field(repr=False)


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
    priority: Priority = Priority.SINGLE,
    limited: bool = True,
    password: str = "",
) -> Document:
    """Stores the file and queues its ingestion; returns its document.

    ``replaces`` (a document's id) or an ``external_id`` that is already known makes it a new version of
    that document. Content that the organisation already has is not stored again: its document is
    returned, and its job queued anew when it had failed. ``limited`` heeds the longest queue that an
    organisation may have. ``password`` opens a protected file.

    Raises :class:`UploadRefused`: 400 empty, 404 unknown document, 409 the idempotency key was used for
    other content, 413 too large, 415 not a format that is read, 429 too many files wait, 503 the storage
    takes no file.
    """
    if limited:
        refuse_full_queue(organization)
    shown = display_name(name)
    if isinstance(stream, StoredUpload):
        content = stream.take(organization)
    else:
        content = take_in(organization, shown, stream.chunks())
    _refuse_bundle(content)
    upload = _Upload(
        organization=organization,
        user=user,
        filename=shown,
        title=display_name(title) if title else "",
        content=content,
        priority=priority,
        collection=collection,
        external_id=(external_id or "")[:LONGEST_EXTERNAL_ID] or None,
        replaces=replaces,
        idempotency_key=idempotency_key,
        password=password,
    )
    try:
        document, kept = _record(upload)
    except BaseException:
        files.discard(content.key)
        raise
    if not kept:
        files.discard(content.key)
    return document


def _refuse_bundle(content: Stored) -> None:
    if not content.may_be_bundle:
        return
    try:
        with files.local_copy(content.key) as path:
            if not zips.holds_documents(path):
                return
    except BaseException:
        files.discard(content.key)
        raise
    files.discard(content.key)
    raise UploadRefused(
        "archive", "This is a zip of files, not a document.", "Upload it as a zip, or unpack it first.", 415
    )


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
            if upload.password:
                jobs.keep_password(same, upload.password)
            if IngestionJob.objects.filter(version=same, status__in=_ENDED_BADLY).exists():
                jobs.retry(
                    organization=organization,
                    document=document,
                    priority=upload.priority,
                    password=upload.password,
                )
        else:
            document = document or _new_document(upload)
            version = DocumentVersion.objects.create(
                organization=organization,
                document=document,
                file=content.key,
                sha256=content.sha256,
                size=content.size,
            )
            jobs.enqueue(version, priority=upload.priority, password=upload.password)
            _rename(document, upload)
            if upload.priority == Priority.SINGLE:  # who brings many wakes somebody once
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
    """A version with this content that is published or on its way: of the document, or of any. One that failed counts while
    nothing newer has come to its document."""
    versions = DocumentVersion.objects.filter(sha256=sha256).exclude(job__error_code=jobs.DELETED)
    versions = versions.select_related("document")
    if not anywhere:
        if document is None:
            return None
        newest = versions.model.objects.filter(document=document).order_by("-created_at").first()
        return newest if newest is not None and newest.sha256 == sha256 else None
    newest_id = DocumentVersion.objects.filter(document=OuterRef("document")).order_by("-created_at")
    failed = Q(job__status__in=_ENDED_BADLY, id=Subquery(newest_id.values("id")[:1]))
    return (
        versions.filter(Q(published_for__isnull=False) | Q(job__status__in=_ON_ITS_WAY) | failed)
        .order_by("created_at")
        .first()
    )


_ON_ITS_WAY = [IngestionJob.Status.QUEUED, IngestionJob.Status.PROCESSING]


def _rename(document: Document, upload: _Upload) -> None:
    """A title that was only the file's name follows the new file's name; one that was given stays, and one of the file
    itself until the new file was read."""
    title = upload.title or (upload.filename if document.title == document.filename else document.title)
    if (title, upload.filename) != (document.title, document.filename):
        document.title, document.filename = title, upload.filename
        document.titled_by_file = document.titled_by_file and not upload.title
        document.save(update_fields=["title", "filename", "titled_by_file", "updated_at"])


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
