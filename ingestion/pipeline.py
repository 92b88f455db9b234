"""READ THIS FIRST: the way of a document, from an uploaded file to passages that can be found.

    claim -> parse (child process) -> chunk -> embed -> rows -> index -> publish -> remove the old version

Parsing runs ahead: the next file is read while this one is embedded, and a short one may pass (:mod:`ingestion.ahead`).

What always holds: each stage can be repeated, since ids follow from (organisation, version, ordinal) and a
stage first removes what an earlier try left; a version becomes visible by one pointer, set in the same
transaction that ends the job, so that nothing half indexed is ever found; no transaction and no scope is open
while a file is parsed or text is embedded; and a worker that lost its lease publishes nothing.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Sequence
from datetime import datetime

import numpy as np
import numpy.typing as npt
from django.conf import settings
from django.db import InterfaceError, OperationalError, connection, transaction
from django.db.models import F, Q
from django.utils import timezone

from inference import runtime
from inference.embedder import Embedder
from inference.errors import InferenceError, NotReady
from ingestion import files, jobs, page_images, titles
from ingestion.ahead import ReadAhead, Reading
from ingestion.chunking import chunk
from ingestion.guards import IngestionFailure
from ingestion.jobs import Lease, LeaseLost, Stage, Stopping
from ingestion.models import IngestionJob
from ingestion.parsed import ParsedDocument, TextChunk
from search import corpus
from search.index.errors import IndexAway, IndexFailure
from search.models import Chunk, Document, DocumentVersion, Page
from tenants.models import Organization
from tenants.scope import tenant_scope

logger = logging.getLogger(__name__)

CHUNK_TOKENS = 200
LONGEST_PATH = 200  # characters; the embedder reads 256 tokens in all
ROWS_PER_STATEMENT = 200
ROWS_PER_SECOND = 100
"""What a busy machine writes at least: nothing can hold the lease on in the midst of a transaction."""
PROGRESS_SECONDS = 0.5
MODELS_WAIT_SECONDS = 2.0
AGAIN = "It is tried again by itself; if it stays so, tell the operator of this installation."
TURN_SECONDS = 60.0
"""After so long a worker ends its turn between two jobs, so that what else it was asked for, such as a sweep, is done."""
LONG_SECONDS = 5.0
"""A job that takes longer lets others be read, and pass, also at the end of a turn."""

Vectors = npt.NDArray[np.float32]


def work_for_a_turn() -> int:
    """:func:`work_until_idle` for about a minute; sends a wake-up where more may be due. Returns how many were worked on."""
    began = time.monotonic()
    worked = work_until_idle(seconds=TURN_SECONDS)
    if time.monotonic() - began >= TURN_SECONDS:
        jobs.wake_workers()
    return worked


def work_until_idle(
    *,
    clock: Callable[[], datetime] = timezone.now,
    stopping: Callable[[], bool] | None = None,
    seconds: float = float("inf"),
) -> int:
    """Claims and works on jobs until none is due; returns how many were worked on. After ``seconds`` those that are held
    are done and no others, and after as long again those go back to the queue."""
    stop = stopping or worker_is_stopping
    worked, job_began = 0, time.monotonic()
    over = job_began + seconds

    def claim() -> Lease | None:
        now = time.monotonic()
        if stop() or (now >= over and now - job_began < LONG_SECONDS):
            return None
        return jobs.claim(clock=clock, stopping=stop)

    with ReadAhead(settings.ENV.read_ahead, claim=claim, work=work) as ahead:
        while not stop() and time.monotonic() < over + seconds:
            job_began = time.monotonic()
            if (job := ahead.next()) is None:
                break
            work(job, ahead)
            worked += 1
    return worked + ahead.passed


def work(job: Lease | Reading, ahead: ReadAhead | None = None) -> None:
    """Takes one claimed job as far as it goes. Every outcome becomes the job's state. Others are read ``ahead``."""
    if ahead is None:
        with ReadAhead(0, claim=lambda: None, work=work) as alone:
            return work(job, alone)
    _attempt(job, ahead)
    _take_back_what_nobody_wants(job.lease if isinstance(job, Reading) else job)


def _attempt(job: Lease | Reading, ahead: ReadAhead) -> None:
    lease = job.lease if isinstance(job, Reading) else job
    try:
        ingest(job, ahead)
    except LeaseLost:
        logger.info("job %s is no longer ours", lease.job_id)
    except Stopping:
        _put_back(lease, 0)
    except NotReady:
        _put_back(lease, MODELS_WAIT_SECONDS)
    except IngestionFailure as failure:
        logger.info("job %s: %s", lease.job_id, failure.code)
        lease.fail(code=failure.code, message=str(failure), remedy=failure.remedy)
    except InferenceError as error:
        logger.warning("job %s: the embedder failed: %s", lease.job_id, error)
        lease.fail(code="embedding_failed", message=str(error), remedy=error.hint or "Try again later.")
    except IndexAway as error:
        logger.warning("job %s: the index is away: %s", lease.job_id, error)
        _let_go(lease, code="index_away", message=error.message, remedy=AGAIN)
    except files.StorageAway as error:
        logger.warning("job %s: the file storage is away: %s", lease.job_id, error.__cause__)
        _let_go(lease, code="storage_away", message=str(error), remedy=AGAIN)
    except IndexFailure as error:
        logger.warning("job %s: the index failed: %s", lease.job_id, error)
        lease.fail(
            code="index_failed", message=str(error), remedy=getattr(error, "hint", "") or "Try again later."
        )
    except FileNotFoundError:
        lease.fail(
            code="file_missing", message="The uploaded file is no longer there.", remedy="Upload it again."
        )
    except (OperationalError, InterfaceError):
        logger.exception("job %s: the database failed", lease.job_id)
        _let_go(lease)
    except Exception:
        logger.exception("job %s failed", lease.job_id)
        lease.fail(
            code="internal",
            message="Something went wrong on our side while this file was read.",
            remedy="Try again; the operator finds the details in the server's log.",
        )


def ingest(job: Lease | Reading, ahead: ReadAhead) -> None:
    """The stages in order. Raises what :func:`_attempt` turns into states."""
    embedder = runtime.current().embedder
    reading = job if isinstance(job, Reading) else ahead.begin(job)
    lease, version = reading.lease, reading.version
    parsed = ahead.document(reading)
    passages = chunk(
        parsed,
        tokenizer=embedder.tokenizer,
        max_tokens=CHUNK_TOKENS,
        on_progress=_reporter(lease, Stage.PARSING, len(parsed.pages), ahead),
    )
    title = titles.title_for(version.document, parsed)
    vectors = _embed(lease, embedder, title, passages, ahead)
    rows = len(passages) + len(parsed.pages)
    until_written = settings.ENV.lease_seconds + rows / ROWS_PER_SECOND
    lease.renew(stage=Stage.INDEXING, done=0, total=len(passages), seconds=until_written)
    again = _write_rows(lease, version, parsed, passages, vectors, embedder.name)
    report = _reporter(lease, Stage.INDEXING, len(passages), ahead)
    corpus.index_version(lease.organization, version.id, again=again, on_batch=report)
    _publish(lease, version)


def chunk_id(organization_id: int, version_id: uuid.UUID, ordinal: int) -> uuid.UUID:
    """UUIDv5 of (organisation, version, ordinal): the same passage has the same id at every try."""
    return uuid.uuid5(version_id, f"{organization_id}/{ordinal}")


def embedding_text(title: str, passage: TextChunk) -> str:
    """What is embedded: title and headings, and the first row of a table that the passage goes on with, give it the
    context that its own words may lack. Of a long path both ends stay: the title and the nearest heading."""
    path = " > ".join(dict.fromkeys([title, *passage.headings]))
    if len(path) > LONGEST_PATH:
        path = f"{path[: LONGEST_PATH // 2 - 2]} … {path[1 - LONGEST_PATH // 2 :]}"
    return "\n".join(filter(None, [path, passage.lead, passage.text]))


def _embed(
    lease: Lease, embedder: Embedder, title: str, passages: Sequence[TextChunk], ahead: ReadAhead
) -> Vectors:
    """``[n, dimension]``."""
    total = len(passages)
    lease.renew(stage=Stage.EMBEDDING, done=0, total=total)
    if not passages:
        return np.empty((0, embedder.dimension), dtype=np.float32)
    texts = [embedding_text(title, passage) for passage in passages]
    return embedder.embed_passages(texts, on_batch=_reporter(lease, Stage.EMBEDDING, total, ahead))


def _reporter(lease: Lease, stage: str, total: int, ahead: ReadAhead) -> Callable[[int], None]:
    """What a long stage calls with how much of it is done: records it and keeps the lease, twice a second, and sees to
    those that are read ahead."""
    told = time.monotonic()

    def report(done: int) -> None:
        nonlocal told

        def record() -> None:
            lease.renew(stage=stage, done=done, total=total)

        if done == total or time.monotonic() - told >= PROGRESS_SECONDS:
            record()
            told = time.monotonic()
        ahead.meanwhile(lease, record)

    return report


def _write_rows(
    lease: Lease,
    version: DocumentVersion,
    parsed: ParsedDocument,
    passages: Sequence[TextChunk],
    vectors: Vectors,
    model: str,
) -> bool:
    """Whether an earlier try had left rows, and so perhaps points of other passages."""
    organization = lease.organization
    packed = vectors.astype("<f2")
    with tenant_scope(organization), transaction.atomic():
        left, _ = Chunk.objects.filter(version=version).delete()
        left += Page.objects.filter(version=version).delete()[0]
        changed = DocumentVersion.objects.filter(id=version.id).update(
            media_type=parsed.media_type[:120],
            author=_storable(parsed.author)[:300],
            language=parsed.language[:8],
            dated=parsed.created,
            page_count=len(parsed.pages),
            pages_without_text=list(parsed.pages_without_text),
            pages_by_ocr=list(parsed.pages_by_ocr),
            protected=parsed.protected,
        )
        if not changed:
            raise LeaseLost(str(lease.job_id))
        titles.adopt(version.document, parsed)
        Page.objects.bulk_create(
            [
                Page(
                    organization=organization,
                    version=version,
                    number=page.number,
                    label=_storable(page.label)[:200],
                    text=_storable(page.text),
                )
                for page in parsed.pages
            ],
            batch_size=ROWS_PER_STATEMENT,
        )
        Chunk.objects.bulk_create(
            [
                Chunk(
                    id=chunk_id(organization.pk, version.id, passage.ordinal),
                    organization=organization,
                    version=version,
                    ordinal=passage.ordinal,
                    page=passage.page,
                    start=passage.start,
                    end=passage.end,
                    text=_storable(passage.text),
                    headings=[_storable(heading) for heading in passage.headings],
                    embedding=packed[position].tobytes(),
                    embedding_model=model,
                )
                for position, passage in enumerate(passages)
            ],
            batch_size=ROWS_PER_STATEMENT,
        )
    return left > 0


def _publish(lease: Lease, version: DocumentVersion) -> None:
    """Makes the version the visible one and ends the job, in one step; then removes what it replaces."""
    with tenant_scope(lease.organization), transaction.atomic():
        document = (
            Document.objects.select_for_update(of=("self",))
            .select_related("published")
            .filter(id=lease.document_id)
            .first()
        )
        if document is None:
            raise LeaseLost(str(lease.job_id))
        published = document.published
        if published is not None and published.created_at > version.created_at:
            lease.supersede()
        else:
            Document.objects.filter(id=document.id).update(published=version, updated_at=timezone.now())
            lease.hand_in()
    _remove_replaced(lease.organization, lease.document_id)


def remove_left_overs() -> None:
    """Removes what a worker that was killed right after publishing left of the versions before."""
    for organization in Organization.objects.all():
        with tenant_scope(organization):
            left = Document.objects.filter(versions__created_at__lt=F("published__created_at"))
            ids = list(left.values_list("id", flat=True).distinct())
        for document_id in ids:
            try:
                _remove_replaced(organization, document_id)
            except (IndexFailure, OSError):
                logger.exception("replaced versions of document %s are still there", document_id)


def _remove_replaced(organization: Organization, document_id: uuid.UUID) -> None:
    """Removes the versions of a document that are older than the published one: points, pictures and file of each,
    then its rows, by which a sweep finds what was left when this was cut off."""
    with tenant_scope(organization):
        older = Q(document_id=document_id, created_at__lt=F("document__published__created_at"))
        replaced = list(DocumentVersion.objects.filter(older))
    for version in replaced:
        corpus.unindex_version(organization, version.id)
        page_images.forget(organization, version.id)
        files.discard(version.file)
        with tenant_scope(organization), transaction.atomic():
            # A worker may be writing its passages: they are waited for, and go with it.
            DocumentVersion.objects.select_for_update().filter(id=version.id).first()
            DocumentVersion.objects.filter(id=version.id).delete()
        page_images.forget(organization, version.id)  # one that was being made meanwhile


def _take_back_what_nobody_wants(lease: Lease) -> None:
    """Takes back the points of a version that was deleted, or whose job was cancelled, while it was being
    indexed, however the work on it ended. The rows are looked at after the last point was written, and a
    deletion removes points once more after the rows: whichever is later finds them."""
    wanted = Q(published_for__isnull=False) | ~Q(job__status=IngestionJob.Status.CANCELLED)
    with tenant_scope(lease.organization):
        if DocumentVersion.objects.filter(wanted, id=lease.version_id).exists():
            return
    try:
        corpus.unindex_version(lease.organization, lease.version_id)
    except IndexFailure:
        logger.exception("points of version %s may be left in the index", lease.version_id)


def _put_back(lease: Lease, seconds: float) -> None:
    try:
        lease.put_back(seconds=seconds)
    except LeaseLost:
        logger.info("job %s ended elsewhere before it was put back", lease.job_id)


def _let_go(lease: Lease, **why: str) -> None:
    """Counts an interruption, not an attempt: a database, an index or a storage that went away says nothing about the
    file."""
    if not connection.is_usable():
        connection.close()  # the next statement opens another
    try:
        lease.let_go(**why)
    except (OperationalError, InterfaceError):
        logger.warning("job %s waits until its lease runs out", lease.job_id)


_REPLACED = dict.fromkeys((0, *range(0xD800, 0xE000)), "\ufffd")


def _storable(text: str) -> str:
    """The text with each character that no database takes (NUL, lone surrogates) as one U+FFFD, so that
    offsets stay true."""
    return text.translate(_REPLACED)


_stopping: Callable[[], bool] = lambda: False  # noqa: E731 replaced by the worker of this process


def worker_is_stopping() -> bool:
    """Whether the worker of this process was told to stop."""
    return _stopping()


def ask_before_each_step(stopping: Callable[[], bool]) -> None:
    """Sets what :func:`worker_is_stopping` asks in this process."""
    global _stopping
    _stopping = stopping
