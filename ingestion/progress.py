"""How far a document is, as people and programs see it: one flat value per document, of its newest job."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from uuid import UUID

from django.core.paginator import Page, Paginator
from django.db.models import OuterRef, Prefetch, Q, QuerySet, Subquery

from ingestion import pace
from ingestion.formats import unit_of
from ingestion.guards import TRY_AGAIN_WITH
from ingestion.models import IngestionJob
from search.models import Document
from tenants.models import Organization
from tenants.scope import tenant_scope

Status, Stage = IngestionJob.Status, IngestionJob.Stage
ROWS_PER_PAGE = 50


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
    author: str
    dated: date | None
    language: str
    pages_without_text: tuple[int, ...]
    pages_by_ocr: tuple[int, ...]
    pages_with_hidden_text: tuple[int, ...]
    page_count: int
    created_at: datetime | None
    searchable: bool
    external_id: str = ""
    rate: float | None = None
    """Pages or passages of the stage a second; None until there is a measure."""
    eta_seconds: int | None = None
    """Until it is ready; None while nothing tells."""

    @property
    def units(self) -> str:
        """What its pages are called."""
        return f"{unit_of(self.media_type)}s"

    @property
    def is_final(self) -> bool:
        """Whether nothing will change by itself any more."""
        return self.status in (Status.READY, Status.FAILED)

    @property
    def opens_with_password(self) -> bool:
        """Whether the person who has its password should be asked for it."""
        return self.error_code == "encrypted" and self.error_remedy.startswith(TRY_AGAIN_WITH)

    @property
    def time_left(self) -> str:
        """In words; empty while it is unknown."""
        return "" if self.eta_seconds is None else f"{pace.duration(self.eta_seconds)} left"


def with_progress(documents: QuerySet[Document]) -> QuerySet[Document]:
    """The documents with what :func:`row_of` reads, in three queries however many there are."""
    newest_first = IngestionJob.objects.select_related("version").order_by("-created_at")
    return documents.select_related("collection", "published").prefetch_related(
        Prefetch("jobs", queryset=newest_first, to_attr="newest_jobs")
    )


def row_of(document: Document, outlook: pace.Outlook | None = None) -> DocumentRow:
    """The value of a document from :func:`with_progress`; ``outlook`` foretells when it will be ready."""
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
        author=version.author if version else "",
        dated=version.dated if version else None,
        language=version.language if version else "",
        pages_without_text=tuple(version.pages_without_text) if version else (),
        pages_by_ocr=tuple(version.pages_by_ocr) if version else (),
        pages_with_hidden_text=tuple(version.pages_with_hidden_text) if version else (),
        page_count=version.page_count if version else 0,
        created_at=document.created_at,
        searchable=document.published_id is not None,
        external_id=document.external_id or "",
        rate=outlook.rate(job) if outlook and job else None,
        eta_seconds=outlook.eta_seconds(job) if outlook and job else None,
    )


def page(
    organization: Organization, *, number: int = 1, status: str = "", words: str = ""
) -> tuple[list[DocumentRow], Page[Document]]:
    """A page of the documents, newest first, and where it stands; a number beyond the last is the last."""
    with tenant_scope(organization):
        found = narrowed(_newest(), status=status, words=words)
        shown = Paginator(with_progress(found), ROWS_PER_PAGE).get_page(number)
        return rows_of_documents(list(shown)), shown


def narrowed(
    documents: QuerySet[Document], *, status: str = "", words: str = "", external_id: str = ""
) -> QuerySet[Document]:
    """The documents whose newest job is in ``status``, whose title or file name contains ``words``, of one
    ``external_id``; each only where it is given. No stored text holds a zero byte, which PostgreSQL refuses."""
    words, external_id = words.replace("\x00", ""), external_id.replace("\x00", "\ufffd")
    if status:
        newest = IngestionJob.objects.filter(document=OuterRef("pk")).order_by("-created_at")
        wanted = ["failed", "cancelled"] if status == "failed" else [status]
        documents = documents.annotate(newest_status=Subquery(newest.values("status")[:1]))
        documents = documents.filter(newest_status__in=wanted)
    if words:
        documents = documents.filter(Q(title__icontains=words) | Q(filename__icontains=words))
    return documents.filter(external_id=external_id) if external_id else documents


def rows_of_documents(documents: Iterable[Document]) -> list[DocumentRow]:
    """The values of documents from :func:`with_progress`, with their outlook. Called in the organisation's scope."""
    found = list(documents)
    jobs = [each.newest_jobs[0] for each in found if each.newest_jobs]  # type: ignore[attr-defined]
    outlook = pace.outlook(jobs)
    return [row_of(document, outlook) for document in found]


def row(organization: Organization, document_id: UUID) -> DocumentRow | None:
    """One document, or None."""
    found = rows_of(organization, [document_id])
    return found[0] if found else None


def rows_of(organization: Organization, ids: Iterable[UUID]) -> list[DocumentRow]:
    """The documents with these ids, newest first."""
    with tenant_scope(organization):
        return rows_of_documents(with_progress(_newest().filter(id__in=list(ids))))


def refused(*, filename: str, size: int, code: str, message: str, remedy: str) -> DocumentRow:
    """The row of a file that was not accepted, to be shown among the others."""
    return DocumentRow(
        id=None, title=filename, filename=filename, media_type="", size=size, collection="",
        status=str(Status.FAILED), stage=str(Stage.QUEUED), done=0, total=0, label="not accepted",
        error_code=code, error_message=message, error_remedy=remedy,
        author="", dated=None, language="", pages_without_text=(), pages_by_ocr=(), pages_with_hidden_text=(), page_count=0, created_at=None, searchable=False,
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
