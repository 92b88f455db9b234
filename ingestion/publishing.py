"""Passages become rows, and a version the one that is found: the end of a document's way.

What always holds: ids follow from (organisation, version, ordinal), and rows that an earlier try left are removed first,
so that each step can be repeated; a version becomes visible by one pointer, set in the transaction that ends the job;
what it replaces is removed afterwards; and a worker that lost its lease publishes nothing.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from django.conf import settings
from django.db import transaction
from django.db.models import F, Q
from django.utils import timezone

from ingestion import files, page_images, titles
from ingestion.leases import Lease, LeaseLost
from ingestion.models import IngestionJob
from ingestion.parsed import ParsedDocument, TextChunk
from search import corpus
from search.index.errors import IndexFailure
from search.models import Chunk, Document, DocumentVersion, Page
from tenants.models import Organization
from tenants.scope import tenant_scope

logger = logging.getLogger(__name__)

ROWS_PER_STATEMENT = 200
ROWS_PER_SECOND = 100
"""What a busy machine writes at least: nothing can hold the lease on in the midst of a transaction."""

Vectors = npt.NDArray[np.float32]


def chunk_id(organization_id: int, version_id: uuid.UUID, ordinal: int) -> uuid.UUID:
    """UUIDv5 of (organisation, version, ordinal): the same passage has the same id at every try."""
    return uuid.uuid5(version_id, f"{organization_id}/{ordinal}")


def write_rows(
    lease: Lease,
    version: DocumentVersion,
    parsed: ParsedDocument,
    passages: Sequence[TextChunk],
    vectors: Vectors,
    model: str,
) -> bool:
    """Writes pages and passages; whether an earlier try had left rows, and so perhaps points of other passages. Raises
    ``LeaseLost`` when the version is gone."""
    with tenant_scope(lease.organization), transaction.atomic():
        titles.adopt(version, parsed)
    with tenant_scope(lease.organization), transaction.atomic():
        left, _ = Chunk.objects.filter(version=version).delete()
        left += Page.objects.filter(version=version).delete()[0]
        changed = DocumentVersion.objects.filter(id=version.id).update(
            media_type=parsed.media_type[:120],
            author=storable(parsed.author)[:300],
            language=parsed.language[:8],
            dated=parsed.created,
            page_count=len(parsed.pages),
            pages_without_text=list(parsed.pages_without_text),
            pages_by_ocr=list(parsed.pages_by_ocr),
            pages_with_hidden_text=list(parsed.pages_with_hidden_text),
            protected=parsed.protected,
        )
        if not changed:
            raise LeaseLost(str(lease.job_id))
        Page.objects.bulk_create(page_rows(version, parsed), batch_size=ROWS_PER_STATEMENT)
        chunks = chunk_rows(version, passages, vectors, model)
        Chunk.objects.bulk_create(chunks, batch_size=ROWS_PER_STATEMENT)
    return left > 0


def page_rows(version: DocumentVersion, parsed: ParsedDocument) -> list[Page]:
    """The pages of a version, not yet saved."""
    return [
        Page(
            organization_id=version.organization_id,
            version=version,
            number=page.number,
            label=storable(page.label)[:200],
            text=storable(page.text),
        )
        for page in parsed.pages
    ]


def chunk_rows(
    version: DocumentVersion, passages: Sequence[TextChunk], vectors: Vectors, model: str
) -> list[Chunk]:
    """The passages of a version with their embeddings (``[n, dimension]``), not yet saved."""
    packed = vectors.astype("<f2")
    return [
        Chunk(
            id=chunk_id(version.organization_id, version.id, passage.ordinal),
            organization_id=version.organization_id,
            version=version,
            ordinal=passage.ordinal,
            page=passage.page,
            start=passage.start,
            end=passage.end,
            text=storable(passage.text),
            headings=[storable(heading) for heading in passage.headings],
            place=storable(passage.place)[:200],
            embedding=packed[position].tobytes(),
            embedding_model=model,
        )
        for position, passage in enumerate(passages)
    ]


def seconds_to_write(rows: int) -> float:
    """For how long a lease is held before so many rows are written."""
    return settings.ENV.lease_seconds + rows / ROWS_PER_SECOND


def publish(lease: Lease, version: DocumentVersion) -> None:
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


def take_back_what_nobody_wants(leases: Sequence[Lease]) -> None:
    """Takes back the points of versions of one organisation that were deleted, or whose job was cancelled, while they were
    being indexed, however the work on them ended. The rows are looked at after the last point was written, and a
    deletion removes points once more after the rows: whichever is later finds them."""
    organization, versions = leases[0].organization, [lease.version_id for lease in leases]
    wanted = Q(published_for__isnull=False) | ~Q(job__status=IngestionJob.Status.CANCELLED)
    with tenant_scope(organization):
        found = set(DocumentVersion.objects.filter(wanted, id__in=versions).values_list("id", flat=True))
    for version_id in versions:
        if version_id not in found:
            try:
                corpus.unindex_version(organization, version_id)
            except IndexFailure:
                logger.exception("points of version %s may be left in the index", version_id)


_REPLACED = dict.fromkeys((0, *range(0xD800, 0xE000)), "\ufffd")


def storable(text: str) -> str:
    """The text with each character that no database takes (NUL, lone surrogates) as one U+FFFD, so that
    offsets stay true."""
    return text.translate(_REPLACED)
