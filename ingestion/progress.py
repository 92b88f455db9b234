"""How far a document is, as people and programs see it: one flat value per document, of its newest job."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db.models import Prefetch, QuerySet

from ingestion.models import IngestionJob
from search.models import Document
from tenants.models import Organization
from tenants.scope import tenant_scope

Status, Stage = IngestionJob.Status, IngestionJob.Stage


@dataclass(frozen=True, slots=True)
class DocumentRow:
    """A document and the state of its newest file. ``status`` is queued, processing, ready or failed.

    ``done`` of ``total`` are pages or passages of ``stage``; ``label`` says it in words. A file that was
    refused at the door has no ``id``.
    """

    id: UUID | None
    title: str
    filename: str
    media_type: str
    size: int
    collection: str
    status: str
    stage: str
    done: int
    total: int
    label: str
    error_code: str
    error_message: str
    error_remedy: str
    pages_without_text: tuple[int, ...]
    page_count: int
    created_at: datetime | None
    searchable: bool

    @property
    def is_final(self) -> bool:
        """Whether nothing will change by itself any more."""
        return self.status in (Status.READY, Status.FAILED)


def with_progress(documents: QuerySet[Document]) -> QuerySet[Document]:
    """The documents with what :func:`row_of` reads, in three queries however many there are."""
    newest_first = IngestionJob.objects.select_related("version").order_by("-created_at")
    return documents.select_related("collection", "published").prefetch_related(
        Prefetch("jobs", queryset=newest_first, to_attr="newest_jobs")
    )


def row_of(document: Document) -> DocumentRow:
    """The value of a document from :func:`with_progress`."""
    newest: list[IngestionJob] = document.newest_jobs  # type: ignore[attr-defined]
    job = newest[0] if newest else None
    version = job.version if job is not None else document.published
    status = Status.READY if job is None else _PUBLIC.get(job.status, job.status)
    failed = job is not None and status == Status.FAILED
    return DocumentRow(
        id=document.id,
        title=document.title,
        filename=document.filename,
        media_type=version.media_type if version else "",
        size=version.size if version else 0,
        collection=document.collection.name,
        status=str(status),
        stage=str(job.stage if job else Stage.DONE),
        done=job.done if job else 0,
        total=job.total if job else 0,
        label=label_of(job),
        error_code=job.error_code if job and failed else "",
        error_message=job.error_message if job and failed else "",
        error_remedy=job.error_remedy if job and failed else "",
        pages_without_text=tuple(version.pages_without_text) if version else (),
        page_count=version.page_count if version else 0,
        created_at=document.created_at,
        searchable=document.published_id is not None,
    )


def rows(organization: Organization, *, limit: int = 200) -> list[DocumentRow]:
    """The newest documents of an organisation."""
    with tenant_scope(organization):
        return [row_of(document) for document in with_progress(_newest())[:limit]]


def row(organization: Organization, document_id: UUID) -> DocumentRow | None:
    """One document, or None."""
    with tenant_scope(organization):
        document = with_progress(Document.objects.filter(id=document_id)).first()
        return None if document is None else row_of(document)


def rows_of(organization: Organization, ids: Iterable[UUID]) -> list[DocumentRow]:
    """The documents with these ids, newest first."""
    with tenant_scope(organization):
        return [row_of(document) for document in with_progress(_newest().filter(id__in=list(ids)))]


def refused(*, filename: str, size: int, code: str, message: str, remedy: str) -> DocumentRow:
    """The row of a file that was not accepted, to be shown among the others."""
    return DocumentRow(
        id=None, title=filename, filename=filename, media_type="", size=size, collection="",
        status=str(Status.FAILED), stage=str(Stage.QUEUED), done=0, total=0, label="not accepted",
        error_code=code, error_message=message, error_remedy=remedy,
        pages_without_text=(), page_count=0, created_at=None, searchable=False,
    )  # fmt: skip


def label_of(job: IngestionJob | None) -> str:
    """What a job is doing, in a few words."""
    if job is None or job.status == Status.READY:
        return "ready"
    if job.status in (Status.FAILED, Status.CANCELLED):
        return str(job.status)
    if job.status == Status.QUEUED:
        return "queued, will be tried again" if job.attempts else "queued"
    if job.stage == Stage.EMBEDDING and job.total:
        return f"embedding {job.done} of {job.total}"
    return "starting" if job.stage == Stage.QUEUED else str(job.stage)


_PUBLIC: dict[str, str] = {Status.CANCELLED: Status.FAILED}


def _newest() -> QuerySet[Document]:
    return Document.objects.order_by("-created_at", "-id")
