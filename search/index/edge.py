"""Qdrant Edge: the Rust engine in this process, one shard (a folder) per organisation.

What always holds: nothing is loaded without the lock; a shard whose creation was interrupted is made anew,
for it holds nothing; vectors are stored bit for bit as their rows have them, in float16 (the dot product of unit vectors
is their cosine, and Qdrant's own cosine would rescale them), so that an audit can compare hashes; which
shard of the folder counts is said by one small file, so that another one takes its place in one step.
"""

from __future__ import annotations

import json
import os
import shutil
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import qdrant_edge as edge

from search.index.base import IndexFilter, IndexState, Match, Point, Vector
from search.index.blank import write_blank_segment, write_blank_shard
from search.index.checks import check_limit, check_points, check_vector
from search.index.errors import IndexClosed, IndexFailure, IndexLocked, IndexMismatch
from search.index.lock import IndexLock
from search.index.sparse import DEFAULT_AVERAGE_LENGTH, Bm25Encoder, SparseTerms

LAYOUT = 1
META = "tessera.json"
_META_KINDS = (
    ("layout", int),
    ("dimension", int),
    ("average_length", float),
    ("shard", str),
    ("in_graph", int),
    ("fields", list),
)
DENSE = "dense"
SPARSE = "bm25"
UPSERT_BATCH = 256
"""Points per call: about 15 ms, for which a question waits that comes in between."""
READ_BATCH = 1000
MIN_PREFETCH = 400
"""Least depth of each list before the fusion. DBSF scales a list by its mean and deviation, which say more of a long
one: docs/search.md has what was measured."""
FIELDS: Mapping[str, Any] = {
    "collection": edge.PayloadSchemaType.Uuid,
    "document": edge.PayloadSchemaType.Uuid,
    "version": edge.PayloadSchemaType.Uuid,
    "media_type": edge.PayloadSchemaType.Keyword,
    "dated": edge.IntegerIndexParams(lookup=False, range=True),
}
"""What filters read."""
FIELDS_INDEXED_FROM = 500
"""Points from which on the fields have indexes. Below, asking each point takes 2 ms at most, while the files of five
indexes double the time to open a shard and make that of creating it threefold."""
SEARCH_THREADS = 2
"""Threads of an open shard. Segments are read in parallel."""
SEGMENTS = 2
"""Of a shard of many points, which are looked at in nearly half the time then. New points go to the smaller segment."""
SPREAD_FROM = 5_000
"""Points from which on a shard has :data:`SEGMENTS`. Each has files of its own, which a flush waits for."""


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
        self._name = "shard"
        self._in_graph = 0
        self._fields_indexed = False
        self._segments = 1
        self._unflushed = False
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
            with self._written() as shard:
                shard.update(edge.UpdateOperation.upsert_points(batch))
                self._grow(shard)

    def _grow(self, shard: edge.EdgeShard) -> None:
        """Gives a shard what pays where points are many: a further segment, and indexes of the fields."""
        if self._fields_indexed and self._segments >= SEGMENTS:
            return
        points = shard.count(edge.CountRequest(exact=True))
        if points >= SPREAD_FROM and self._segments < SEGMENTS:
            shard = self._spread(shard)
        if points >= FIELDS_INDEXED_FROM and not self._fields_indexed:
            for field, kind in FIELDS.items():
                shard.update(edge.UpdateOperation.create_field_index(field, kind))
            self._fields_indexed = True
            self._save_meta()

    def _spread(self, shard: edge.EdgeShard) -> edge.EdgeShard:
        """Adds empty segments, whose fields have no indexes yet. Killed at any point, it is done with the next points."""
        self._fields_indexed = False
        self._save_meta()
        self._flush(shard)
        self._close_shard()
        while self._segments < SEGMENTS:
            write_blank_segment(self._folder / self._name, _config(self._dimension))
            self._segments += 1
        self._shard = edge.EdgeShard.load(str(self._folder / self._name))
        return self._shard

    def delete(self, ids: Sequence[UUID]) -> None:
        for start in range(0, len(ids), READ_BATCH):
            with self._written() as shard:
                shard.update(edge.UpdateOperation.delete_points(list(ids[start : start + READ_BATCH])))

    def delete_document(self, document_id: UUID) -> None:
        self._delete_where("document", document_id)

    def delete_version(self, version_id: UUID) -> None:
        self._delete_where("version", version_id)

    def _delete_where(self, field: str, value: UUID) -> None:
        condition = edge.FieldCondition(field, match=edge.MatchValue(str(value)))
        with self._written() as shard:
            shard.update(edge.UpdateOperation.delete_points_by_filter(edge.Filter(must=[condition])))

    def query(
        self, *, text: str, dense: Vector, filter: IndexFilter, limit: int, earlier: str = ""
    ) -> list[Match]:
        check_limit(limit)
        check_vector(dense, self._dimension, "the query")
        if filter.matches_nothing:
            return []
        condition = _filter(filter)
        depth = max(limit, MIN_PREFETCH)
        prefetches = [
            edge.Prefetch(depth, query=edge.Query.Nearest(dense.tolist(), using=DENSE), filter=condition)
        ]
        for terms in self._bm25.lists(text, earlier):
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

    def state(self) -> IndexState:
        points = self.count()
        return IndexState(
            points=points,
            outside_graph=max(0, points - self._in_graph),
            average_length=self.average_length,
        )

    def ids(self) -> set[UUID]:
        found: set[UUID] = set()
        offset: UUID | None = None
        while True:
            page, offset = self.page_of_ids(offset)
            found.update(page)
            if offset is None:
                return found

    def page_of_ids(self, offset: UUID | None) -> tuple[list[UUID], UUID | None]:
        """Up to :data:`READ_BATCH` ids from ``offset`` on in their order, and where the next page begins."""
        request = edge.ScrollRequest(offset=offset, limit=READ_BATCH, with_payload=False, with_vector=False)
        with self._open("read") as shard:
            records, following = shard.scroll(request)
        return [_uuid(record.id) for record in records], None if following is None else _uuid(following)

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
            self._flush(shard)

    def _flush(self, shard: edge.EdgeShard) -> None:
        """Nothing where nothing was written: each flush waits some twenty times for the disk."""
        if self._unflushed:
            shard.flush()
            self._unflushed = False

    def optimize(self) -> None:
        """Builds the graph over all points (HNSW, where they are many). Holds the interpreter's lock for about 0.4 ms a
        point: for a process that answers nobody.
        """
        with self._open("optimize") as shard:
            shard.optimize()
            shard.flush()
            self._in_graph = int(shard.count(edge.CountRequest(exact=True)))
            self._save_meta()

    def adopt(self, folder: Path) -> list[UUID]:
        """Takes the closed index of ``folder`` in place of its own, in one step, and returns the ids of the points that
        its own had. A crash leaves the one or the other.
        """
        with self._guard:
            self.ensure_may_write()
            replaced = self._ids_where_readable()
            built = self._read_meta(folder / META)
            self._folder.mkdir(parents=True, exist_ok=True)
            name = f"shard-{uuid.uuid4().hex}"
            (folder / built["shard"]).rename(self._folder / name)
            self._close_shard()
            self._take(built, name)
            self._save_meta()
            self._remove_others()
            return replaced

    def _ids_where_readable(self) -> list[UUID]:
        """None of a shard that is not there or is beyond reading, which is why another takes its place."""
        try:
            return list(self.ids()) if self._meta.exists() else []
        except IndexFailure:
            return []

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
                    self._flush(self._shard)
                self._close_shard()

    def ensure_may_write(self) -> None:
        """Raises ``IndexClosed`` or ``IndexLocked`` when this object may not touch the folder."""
        if self._closed or self._pid != os.getpid():
            raise IndexClosed("The index was closed, or opened by the parent of this process.")
        if not self._lock.held:
            raise IndexLocked("The embedded index may only be changed by the process that holds its lock.")

    @property
    def _meta(self) -> Path:
        return self._folder / META

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

    @contextmanager
    def _written(self) -> Iterator[edge.EdgeShard]:
        with self._open("write to") as shard:
            self._unflushed = True  # even of a write that failed a part may be there
            yield shard

    def _create(self) -> edge.EdgeShard:
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True)
        self._name, self._in_graph = "shard", 0
        self._fields_indexed = self._unflushed = False
        self._segments = 1
        write_blank_shard(self._folder / self._name, _config(self._dimension))
        self._save_meta()
        return edge.EdgeShard.load(str(self._folder / self._name))

    def _save_meta(self) -> None:
        """Written last and renamed into place: a shard without it is one whose creation did not end."""
        draft = self._folder / f"{META}.new"
        values = {
            "layout": LAYOUT,
            "dimension": self._dimension,
            "average_length": self.average_length,
            "shard": self._name,
            "in_graph": self._in_graph,
            "fields": sorted(FIELDS) if self._fields_indexed else [],
        }
        with draft.open("w", encoding="ascii") as out:
            json.dump(values, out)
            out.flush()
            os.fsync(out.fileno())
        draft.rename(self._meta)

    def _read_meta(self, file: Path) -> dict[str, Any]:
        """Raises ``IndexMismatch`` for what another version wrote, and for what is no such file at all."""
        try:
            saved = {
                "shard": "shard",
                "in_graph": 0,
                "fields": [],
                **json.loads(file.read_text(encoding="ascii")),
            }
            saved |= {name: kind(saved[name]) for name, kind in _META_KINDS}
        except (ValueError, TypeError, KeyError) as error:
            raise IndexMismatch(f"{file} cannot be read: {error!r}.") from error
        if saved["layout"] != LAYOUT or saved["dimension"] != self._dimension:
            raise IndexMismatch(
                f"The index holds vectors of {saved['dimension']} dimensions in layout {saved['layout']}; "
                f"{self._dimension} dimensions in layout {LAYOUT} are needed."
            )
        return saved

    def _take(self, saved: dict[str, Any], name: str) -> None:
        self._bm25 = Bm25Encoder(saved["average_length"])
        self._name, self._in_graph = name, int(saved["in_graph"])
        self._fields_indexed = set(saved["fields"]) >= FIELDS.keys()

    def _load(self) -> edge.EdgeShard:
        saved = self._read_meta(self._meta)
        self._take(saved, saved["shard"])
        self._remove_others()
        shard = edge.EdgeShard.load(str(self._folder / self._name))
        self._unflushed = False  # what the log brought back stays in the log until the next write is flushed
        self._segments = shard.info().segments_count
        return shard

    def _remove_others(self) -> None:
        """Removes the shards that this one replaced, or that were about to replace it when the process died."""
        for other in self._folder.iterdir():
            if other.is_dir() and other.name != self._name:
                shutil.rmtree(other, ignore_errors=True)

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


@lru_cache(maxsize=4)
def _config(dimension: int) -> edge.EdgeConfig:
    """``Cold`` vectors are mapped and read when they are asked for. They stay in the system's cache as well as others, whose
    file of 32 MB is read whole whenever a shard is opened, be there but a hundred of them."""
    return edge.EdgeConfig(
        vectors={
            DENSE: edge.EdgeVectorParams(
                dimension,
                edge.Distance.Dot,
                datatype=edge.VectorStorageDatatype.Float16,
                memory=edge.Memory.Cold,
            )
        },
        sparse_vectors={SPARSE: edge.EdgeSparseVectorParams(modifier=edge.Modifier.Idf)},
        max_search_threads=SEARCH_THREADS,
    )


def _filter(conditions: IndexFilter) -> edge.Filter | None:
    """None where every point may be found, which only :attr:`IndexFilter.allowed` says: an empty filter is never made by
    chance, since ``collection_ids`` is known not to be empty."""
    must: list[Any] = []
    hidden: list[Any] = []
    allowed = conditions.allowed
    if allowed is not None:
        (must if allowed[0] else hidden).append(_any("collection", [str(c) for c in allowed[1]]))
    if conditions.document_ids is not None:
        must.append(_any("document", [str(d) for d in conditions.document_ids]))
    if conditions.media_types is not None:
        must.append(_any("media_type", list(conditions.media_types)))
    if conditions.dated_from is not None or conditions.dated_to is not None:
        must.append(_days(conditions.dated_from, conditions.dated_to))
    if conditions.dated_in is not None:
        must.append(edge.Filter(should=[_days(first, last) for first, last in conditions.dated_in]))
    return edge.Filter(must=must, must_not=hidden) if must or hidden else None


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
