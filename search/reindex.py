"""The index compared with the rows, and made anew from them. Nothing is embedded again.

What always holds: rows are the record; a point without a row is a leak, a published row without a point, or
with other bytes, is a defect; both are mended by :func:`reindex`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

import numpy as np

from search.corpus import batches_of_points
from search.index import open_index
from search.index.opening import keys_present, recreate_index
from search.index.sparse import average_length
from search.models import Chunk
from tenants.models import Organization
from tenants.scope import tenant_scope

READ_BATCH = 1000


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
    """Makes the index of ``organization`` anew from the rows of published versions; returns the points.

    The mean passage length of BM25 is counted anew. ``on_batch`` is told the points so far. Versions that are
    being ingested meanwhile must be indexed again by their job: run it while nothing is ingested.
    """
    mean = average_length(point.text for points in batches_of_points(organization) for point in points)
    index = recreate_index(organization, average_length=mean)
    written = 0
    for points in batches_of_points(organization):
        index.upsert(points)
        written += len(points)
        if on_batch is not None:
            on_batch(written)
    index.flush()
    return written


def audit(organization: Organization) -> Audit:
    """Compares the ids and the vector hashes of the index with the rows."""
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
