"""Qdrant Edge: the Rust engine in this process, one shard (a folder) per organisation.

What always holds: nothing is loaded without the lock; a shard whose creation was interrupted is made anew,
for it holds nothing; vectors are stored bit for bit as they came (the dot product of unit vectors is their
cosine, and Qdrant's own cosine would rescale them), so that :mod:`search.reindex` can compare hashes.
"""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import qdrant_edge as edge

from search.index.base import IndexFilter, Match, Point, Vector
from search.index.checks import check_limit, check_points, check_vector
from search.index.errors import IndexClosed, IndexFailure, IndexLocked, IndexMismatch
from search.index.lock import IndexLock
from search.index.sparse import DEFAULT_AVERAGE_LENGTH, Bm25Encoder, SparseTerms

LAYOUT = 1
DENSE = "dense"
SPARSE = "bm25"
UPSERT_BATCH = 256
"""Points per call. The interpreter's lock is held in each call: about 4 ms for so many."""
READ_BATCH = 1000
MIN_PREFETCH = 400
"""Least depth of each list before the fusion. DBSF scales a list by its mean and deviation, which say more of a long
one: docs/search.md has what was measured."""
SEARCH_THREADS = 2


class EdgeIndex:
    """A :class:`search.index.base.VectorIndex` in ``folder``. ``lock`` must be held while it is in use.

    ``average_length`` counts when the shard is created; afterwards the saved one does.
    """

    def __init__(
        self, folder: Path, *, lock: IndexLock, dimension: int, average_length: float = DEFAULT_AVERAGE_LENGTH
    ) -> None:
        self._folder = folder
        self._lock = lock
        self._dimension = dimension
        self._bm25 = Bm25Encoder(average_length)
        self._guard = threading.RLock()
        self._shard: edge.EdgeShard | None = None
        self._closed = False
        self._pid = os.getpid()

    @property
    def average_length(self) -> float:
        """The mean passage length that the stored BM25 weights were made with."""
        return self._bm25.average_length

    def ensure(self) -> None:
        """Loads the shard, or creates it. Raises ``IndexLocked``, ``IndexMismatch``, ``IndexClosed``."""
        with self._guard:
            if self._closed:
                raise IndexClosed("The index was closed.")
            if not self._lock.held:
                raise IndexLocked("The embedded index may only be opened by the process that holds its lock.")
            if self._shard is not None:
                return
            with _edge_errors("open"):
                self._shard = self._load() if self._meta.exists() else self._create()

    def upsert(self, points: Sequence[Point]) -> None:
        check_points(points, self._dimension)
        for start in range(0, len(points), UPSERT_BATCH):
            batch = [self._encode(point) for point in points[start : start + UPSERT_BATCH]]
            with self._open("write to") as shard:
                shard.update(edge.UpdateOperation.upsert_points(batch))

    def delete(self, ids: Sequence[UUID]) -> None:
        for start in range(0, len(ids), READ_BATCH):
            with self._open("write to") as shard:
                shard.update(edge.UpdateOperation.delete_points(list(ids[start : start + READ_BATCH])))

    def delete_document(self, document_id: UUID) -> None:
        self._delete_where("document", document_id)

    def delete_version(self, version_id: UUID) -> None:
        self._delete_where("version", version_id)

    def _delete_where(self, field: str, value: UUID) -> None:
        condition = edge.FieldCondition(field, match=edge.MatchValue(str(value)))
        with self._open("write to") as shard:
            shard.update(edge.UpdateOperation.delete_points_by_filter(edge.Filter(must=[condition])))

    def query(self, *, text: str, dense: Vector, filter: IndexFilter, limit: int) -> list[Match]:
        check_limit(limit)
        check_vector(dense, self._dimension, "the query")
        if filter.matches_nothing:
            return []
        condition = _filter(filter)
        depth = max(limit, MIN_PREFETCH)
        prefetches = [
            edge.Prefetch(depth, query=edge.Query.Nearest(dense.tolist(), using=DENSE), filter=condition)
        ]
        for terms in (self._bm25.query(text), self._bm25.exact(text)):
            if terms.indices:
                nearest = edge.Query.Nearest(_sparse(terms), using=SPARSE)
                prefetches.append(edge.Prefetch(depth, query=nearest, filter=condition))
        fusion: Any = edge.Fusion.Dbsf()
        request = edge.QueryRequest(
            limit=limit,
            prefetches=prefetches,
            query=fusion,
            filter=condition,
            with_payload=False,
            with_vector=False,
        )
        with self._open("query") as shard:
            return [Match(_uuid(found.id), float(found.score)) for found in shard.query(request)]

    def count(self) -> int:
        with self._open("count") as shard:
            return int(shard.count(edge.CountRequest(exact=True)))

    def ids(self) -> set[UUID]:
        found: set[UUID] = set()
        offset: Any = None
        while True:
            request = edge.ScrollRequest(
                offset=offset, limit=READ_BATCH, with_payload=False, with_vector=False
            )
            with self._open("read") as shard:
                records, offset = shard.scroll(request)
            found.update(_uuid(record.id) for record in records)
            if offset is None:
                return found

    def vectors(self, ids: Sequence[UUID]) -> dict[UUID, Vector]:
        found: dict[UUID, Vector] = {}
        for start in range(0, len(ids), READ_BATCH):
            with self._open("read") as shard:
                records = shard.retrieve(list(ids[start : start + READ_BATCH]), False, [DENSE])
            for record in records:
                vectors: Any = record.vector
                found[_uuid(record.id)] = np.asarray(vectors[DENSE], dtype=np.float32)
        return found

    def flush(self) -> None:
        with self._open("flush") as shard:
            shard.flush()

    def drop(self) -> None:
        """Deletes the shard and its folder. A later :meth:`ensure` creates an empty one."""
        with self._guard:
            self.ensure_may_write()
            self._close_shard()
            self._meta.unlink(missing_ok=True)
            shutil.rmtree(self._folder, ignore_errors=True)

    def close(self) -> None:
        """Flushes and closes; every later call raises ``IndexClosed``. Idempotent."""
        with self._guard:
            self._closed = True
            if self._shard is not None and self._pid == os.getpid():
                with _edge_errors("close"):
                    self._shard.flush()
                self._close_shard()

    def ensure_may_write(self) -> None:
        """Raises ``IndexClosed`` or ``IndexLocked`` when this object may not touch the folder."""
        if self._closed or self._pid != os.getpid():
            raise IndexClosed("The index was closed, or opened by the parent of this process.")
        if not self._lock.held:
            raise IndexLocked("The embedded index may only be changed by the process that holds its lock.")

    @property
    def _meta(self) -> Path:
        return self._folder / "tessera.json"

    @contextmanager
    def _open(self, act: str) -> Iterator[edge.EdgeShard]:
        """The loaded shard, with this object's guard held. A forked child would hang on it and is refused."""
        if self._pid != os.getpid():
            raise IndexClosed("The index was opened by the parent of this process.")
        with self._guard:
            self.ensure()
            if self._shard is None:
                raise IndexClosed("The index was closed.")
            with _edge_errors(act):
                yield self._shard

    def _create(self) -> edge.EdgeShard:
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True)
        shard = edge.EdgeShard.create(str(self._folder / "shard"), _config(self._dimension))
        for field, kind in (
            ("collection", edge.PayloadSchemaType.Uuid),
            ("document", edge.PayloadSchemaType.Uuid),
            ("version", edge.PayloadSchemaType.Uuid),
            ("media_type", edge.PayloadSchemaType.Keyword),
            ("dated", edge.IntegerIndexParams(lookup=False, range=True)),
        ):
            shard.update(edge.UpdateOperation.create_field_index(field, kind))
        shard.flush()
        self._save_meta()
        return shard

    def _save_meta(self) -> None:
        """Written last and renamed into place: a shard without it is one whose creation did not end."""
        draft = self._folder / "tessera.json.new"
        values = {"layout": LAYOUT, "dimension": self._dimension, "average_length": self.average_length}
        with draft.open("w", encoding="ascii") as out:
            json.dump(values, out)
            out.flush()
            os.fsync(out.fileno())
        draft.rename(self._meta)

    def _load(self) -> edge.EdgeShard:
        saved = json.loads(self._meta.read_text(encoding="ascii"))
        if saved["layout"] != LAYOUT or saved["dimension"] != self._dimension:
            raise IndexMismatch(
                f"The index holds vectors of {saved['dimension']} dimensions in layout {saved['layout']}; "
                f"{self._dimension} dimensions in layout {LAYOUT} are needed."
            )
        self._bm25 = Bm25Encoder(saved["average_length"])
        return edge.EdgeShard.load(str(self._folder / "shard"))

    def _close_shard(self) -> None:
        shard, self._shard = self._shard, None
        if shard is not None:
            shard.close()

    def _encode(self, point: Point) -> edge.Point:
        terms = self._bm25.passage(point.text)
        vectors: dict[str, Any] = {DENSE: point.dense.tolist()}
        if terms.indices:
            vectors[SPARSE] = _sparse(terms)
        return edge.Point(point.id, vectors, payload_of(point))


def payload_of(point: Point) -> dict[str, Any]:
    """What is stored beside the vectors: what filters read, and no text."""
    payload: dict[str, Any] = {
        "collection": str(point.collection_id),
        "document": str(point.document_id),
        "version": str(point.version_id),
        "media_type": point.media_type,
    }
    if point.dated is not None:
        payload["dated"] = point.dated
    return payload


def _config(dimension: int) -> edge.EdgeConfig:
    return edge.EdgeConfig(
        vectors={DENSE: edge.EdgeVectorParams(dimension, edge.Distance.Dot)},
        sparse_vectors={SPARSE: edge.EdgeSparseVectorParams(modifier=edge.Modifier.Idf)},
        max_search_threads=SEARCH_THREADS,
    )


def _filter(conditions: IndexFilter) -> edge.Filter:
    """Never empty, for an empty filter matches everything; ``collection_ids`` is known not to be."""
    must: list[Any] = [_any("collection", [str(c) for c in conditions.collection_ids])]
    if conditions.document_ids is not None:
        must.append(_any("document", [str(d) for d in conditions.document_ids]))
    if conditions.media_types is not None:
        must.append(_any("media_type", list(conditions.media_types)))
    if conditions.dated_from is not None or conditions.dated_to is not None:
        must.append(_days(conditions.dated_from, conditions.dated_to))
    if conditions.dated_in is not None:
        must.append(edge.Filter(should=[_days(first, last) for first, last in conditions.dated_in]))
    return edge.Filter(must=must)


def _days(first: int | None, last: int | None) -> edge.FieldCondition:
    days = edge.RangeFloat(
        gte=None if first is None else float(first), lte=None if last is None else float(last)
    )
    return edge.FieldCondition("dated", range=days)


def _any(field: str, values: list[str]) -> edge.FieldCondition:
    return edge.FieldCondition(field, match=edge.MatchAny(values))


def _sparse(terms: SparseTerms) -> edge.SparseVector:
    return edge.SparseVector(indices=terms.indices, values=terms.values)


def _uuid(value: object) -> UUID:
    return value if isinstance(value, UUID) else UUID(str(value))


@contextmanager
def _edge_errors(act: str) -> Iterator[None]:
    """Qdrant Edge raises bare ``Exception``; they leave here as :class:`IndexFailure`."""
    try:
        yield
    except (IndexFailure, OSError, ValueError, TypeError):
        raise
    except Exception as error:
        raise IndexFailure(f"Qdrant Edge failed to {act} the index: {error}") from error
