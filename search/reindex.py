"""The index compared with the rows, and made anew from them. Nothing is embedded again.

What always holds: rows are the record; a point without a row is a leak, a published row without a point, or
with other bytes, is a defect; :func:`repair` mends both, and so does :func:`reindex`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import numpy as np
from django.db.models import Q
from django.utils import timezone

from search import maintenance
from search.corpus import BATCH, batches_of_points, points_for
from search.index import IndexFailure, VectorIndex, open_index
from search.index.opening import build_index, keys_present
from search.index.sparse import average_length
from search.maintenance import Write
from search.models import Chunk
from tenants.models import Organization
from tenants.scope import tenant_scope

READ_BATCH = 1000
GRAPH_FROM = 250_000
"""Passages from which on a graph pays for the hits that it misses. At 100,000 looking at each takes half of its time for who may
read all, as long for who may read half, and misses none (decision 57)."""
TELL_SECONDS = 5.0
SLACK = timedelta(minutes=1)
"""How far the clocks of two machines may be apart."""


@dataclass(frozen=True, slots=True)
class Audit:
    """How the index of one organisation differs from its rows, as ids in ascending order."""

    points: int
    rows: int
    missing: tuple[UUID, ...] = ()
    """Passages of published versions that have no point."""
    changed: tuple[UUID, ...] = ()
    """Points whose vector has not the SHA-256 of the row's."""
    leaked: tuple[UUID, ...] = ()
    """Points that no row of this organisation explains."""
    unpublished: tuple[UUID, ...] = ()
    """Points of versions on their way in or out: never shown, and no defect."""

    @property
    def clean(self) -> bool:
        return not (self.missing or self.changed or self.leaked)


def reindex(organization: Organization, *, on_batch: Callable[[int], None] | None = None) -> int:
    """Makes the index of ``organization`` anew from the rows of published versions, beside the one in use, and puts it
    in its place; returns the points. May run while documents come and go and questions are asked.

    The mean passage length of BM25 is counted anew. ``on_batch`` is told the points so far. Raises ``IndexLocked`` while
    another process does this beside the same server.
    """
    with maintenance.alone(organization):
        return _reindex(organization, on_batch)


def _reindex(organization: Organization, on_batch: Callable[[int], None] | None) -> int:
    begun = timezone.now() - SLACK
    mean = average_length(point.text for points in batches_of_points(organization) for point in points)
    written = 0
    with build_index(organization, average_length=mean) as building:
        for points in batches_of_points(organization):
            building.index.upsert(points)
            written += len(points)
            if on_batch is not None:
                on_batch(written)
        if written >= GRAPH_FROM:
            building.index.optimize()
        _catch_up(organization, building.index, _ids_in_use(organization), since=begun)
        replaced = building.switch()
    index = open_index(organization)
    _catch_up(organization, index, replaced, since=begun)
    index.flush()
    return index.count()


def _ids_in_use(organization: Organization) -> set[UUID]:
    """Nothing where the index in use is beyond reading, which is why it is made anew."""
    try:
        return open_index(organization).ids()
    except IndexFailure:
        return set()


def _catch_up(organization: Organization, index: VectorIndex, others: set[UUID], *, since: datetime) -> None:
    """Brings ``index`` in step with rows that changed while it was built.

    Written are passages of published versions that it lacks or whose document changed ``since``, and of other versions
    those of which another index has points (``others``): their ingestion is under way and is not done again. What has
    no row is removed afterwards, and so is what lost its row meanwhile.
    """
    present = index.ids()
    with tenant_scope(organization):
        published = Q(version__published_for__isnull=False)
        rows = Chunk.objects.all()
        all_published = set(rows.filter(published).values_list("id", flat=True).iterator(READ_BATCH))
        recent = rows.filter(published, version__document__updated_at__gte=since)
        changed = set(recent.values_list("id", flat=True).iterator(READ_BATCH))
    _write(organization, index, sorted((all_published - present) | changed | (others - present)))
    _remove_unexplained(organization, index)


def _write(organization: Organization, index: VectorIndex, ids: Sequence[UUID]) -> None:
    """Writes the points of those of the passages that have a row."""
    for start in range(0, len(ids), BATCH):
        with tenant_scope(organization):
            rows = Chunk.objects.select_related("version__document")
            chunks = list(rows.filter(id__in=ids[start : start + BATCH]))
        index.upsert(points_for(chunks))


def _remove_unexplained(organization: Organization, index: VectorIndex) -> None:
    """Rows are read after the last point was written: what was deleted meanwhile goes."""
    points = index.ids()
    with tenant_scope(organization):
        explained = set(Chunk.objects.values_list("id", flat=True).iterator(READ_BATCH))
    index.delete(sorted(points - explained))


def act(arguments: dict[str, Any], write: Write) -> int:
    """Makes the index of one organisation (``organization``, a slug) or of each anew; returns 0."""
    slug = arguments.get("organization")
    chosen = Organization.objects.order_by("slug")
    for organization in chosen if slug is None else chosen.filter(slug=slug):
        points = reindex(organization, on_batch=_tell(organization.slug, write))
        write(f"{organization.slug}: {points} passages")
    return 0


def _tell(slug: str, write: Write) -> Callable[[int], None]:
    """Says how far a long one is."""
    told = time.monotonic()

    def tell(written: int) -> None:
        nonlocal told
        if time.monotonic() - told >= TELL_SECONDS:
            write(f"{slug}: {written} passages so far")
            told = time.monotonic()

    return tell


def audit(organization: Organization) -> Audit:
    """Compares the ids and the vector hashes of the index with the rows; what differs is looked at twice, since
    documents come and go meanwhile.
    """
    found = _compare(organization)
    if found.clean:
        return found
    again = _compare(organization)
    return dataclasses.replace(
        again,
        missing=tuple(i for i in again.missing if i in set(found.missing)),
        changed=tuple(i for i in again.changed if i in set(found.changed)),
        leaked=tuple(i for i in again.leaked if i in set(found.leaked)),
    )


def repair(organization: Organization, found: Audit) -> None:
    """Writes the points of ``missing`` and ``changed`` from their rows and deletes those that no row explains."""
    index = open_index(organization)
    _write(organization, index, [*found.missing, *found.changed])
    _remove_unexplained(organization, index)
    index.flush()


def _compare(organization: Organization) -> Audit:
    index = open_index(organization)
    points = index.ids()
    published, others = _row_hashes(organization)
    missing = published.keys() - points
    changed: list[UUID] = []
    present = sorted(published.keys() & points)
    for start in range(0, len(present), READ_BATCH):
        batch = present[start : start + READ_BATCH]
        vectors = index.vectors(batch)
        changed += [i for i in batch if i not in vectors or _hash(vectors[i].tobytes()) != published[i]]
    return Audit(
        points=len(points),
        rows=len(published),
        missing=tuple(sorted(missing)),
        changed=tuple(changed),
        leaked=tuple(sorted(points - published.keys() - others)),
        unpublished=tuple(sorted(points & others)),
    )


def orphans() -> set[int]:
    """The keys of indexes whose organisation does not exist any more."""
    return keys_present() - set(Organization.objects.values_list("pk", flat=True))


def _row_hashes(organization: Organization) -> tuple[dict[UUID, str], set[UUID]]:
    """SHA-256 of the fp32 vector of each published passage, and the ids of all other passages."""
    with tenant_scope(organization):
        rows = Chunk.objects.filter(version__published_for__isnull=False).values_list("id", "embedding")
        published = {
            i: _hash(np.frombuffer(embedding, dtype="<f2").astype(np.float32).tobytes())
            for i, embedding in rows.iterator(READ_BATCH)
        }
        others = set(Chunk.objects.filter(version__published_for__isnull=True).values_list("id", flat=True))
    return published, others


def _hash(vector: bytes) -> str:
    return hashlib.sha256(vector).hexdigest()
