"""Qdrant Edge: the Rust engine in this process, one shard (a folder) per organisation.

What always holds: nothing is loaded without the lock; a shard whose creation was interrupted is made anew,
for it holds nothing; vectors are stored bit for bit as their rows have them, in float16 (the dot product of unit vectors
is their cosine, and Qdrant's own cosine would rescale them), so that an audit can compare hashes; which
shard of the folder counts is said by one small file, so that another one takes its place in one step.
"""

from __future__ import annotations

import os
import shutil
import threading
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import qdrant_edge as edge

from search.index.base import IndexFilter, IndexState, Match, Point, Vector
from search.index.blank import write_blank_segment, write_blank_shard
from search.index.checks import check_limit, check_points, check_vector
from search.index.edge_types import FIELDS, config_of, edge_errors, point_of, question_of, uuid_of
from search.index.errors import IndexClosed, IndexFailure, IndexLocked
from search.index.layout import DENSE, READ_BATCH, UPSERT_BATCH
from search.index.lock import IndexLock
from search.index.saved import META, Saved, remove_shards
from search.index.sparse import DEFAULT_AVERAGE_LENGTH, Bm25Encoder

FIELDS_INDEXED_FROM = 500
"""Points from which on the fields have indexes. Below, asking each point takes 2 ms at most, while the files of five
indexes double the time to open a shard and make that of creating it threefold."""
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
        self._saved = Saved(dimension, average_length)
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
            with edge_errors("open"):
                self._shard = self._load() if self._meta.exists() else self._create()

    def upsert(self, points: Sequence[Point]) -> None:
        check_points(points, self._dimension)
        for start in range(0, len(points), UPSERT_BATCH):
            batch = [point_of(each, self._bm25) for each in points[start : start + UPSERT_BATCH]]
            with self._written() as shard:
                shard.update(edge.UpdateOperation.upsert_points(batch))
                self._grow(shard)

    def _grow(self, shard: edge.EdgeShard) -> None:
        """Gives a shard what pays where points are many: a further segment, and indexes of the fields."""
        fields_indexed = set(self._saved.fields) >= FIELDS.keys()
        if fields_indexed and self._segments >= SEGMENTS:
            return
        points = shard.count(edge.CountRequest(exact=True))
        if points >= SPREAD_FROM and self._segments < SEGMENTS:
            shard, fields_indexed = self._spread(shard), False
        if points >= FIELDS_INDEXED_FROM and not fields_indexed:
            for field, kind in FIELDS.items():
                shard.update(edge.UpdateOperation.create_field_index(field, kind))
            self._note(fields=tuple(sorted(FIELDS)))

    def _spread(self, shard: edge.EdgeShard) -> edge.EdgeShard:
        """Adds empty segments, whose fields have no indexes yet. Killed at any point, it is done with the next points."""
        self._note(fields=())
        self._flush(shard)
        self._close_shard()
        while self._segments < SEGMENTS:
            write_blank_segment(self._folder / self._saved.shard, config_of(self._dimension))
            self._segments += 1
        self._shard = edge.EdgeShard.load(str(self._folder / self._saved.shard))
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
        self, *, text: str, dense: Vector | None, filter: IndexFilter, limit: int, earlier: str = ""
    ) -> list[Match]:
        check_limit(limit)
        if dense is not None:
            check_vector(dense, self._dimension, "the query")
        lists = [terms for terms in self._bm25.lists(text, earlier) if terms.indices]
        if filter.matches_nothing or (dense is None and not lists):
            return []
        request = question_of(dense, lists, filter, limit)
        with self._open("query") as shard:
            return [Match(uuid_of(found.id), float(found.score)) for found in shard.query(request)]

    def count(self) -> int:
        with self._open("count") as shard:
            return int(shard.count(edge.CountRequest(exact=True)))

    def state(self) -> IndexState:
        points = self.count()
        return IndexState(
            points=points,
            outside_graph=max(0, points - self._saved.in_graph),
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
        return [uuid_of(record.id) for record in records], None if following is None else uuid_of(following)

    def vectors(self, ids: Sequence[UUID]) -> dict[UUID, Vector]:
        found: dict[UUID, Vector] = {}
        for start in range(0, len(ids), READ_BATCH):
            with self._open("read") as shard:
                records = shard.retrieve(list(ids[start : start + READ_BATCH]), False, [DENSE])
            for record in records:
                vectors: Any = record.vector
                found[uuid_of(record.id)] = np.asarray(vectors[DENSE], dtype=np.float32)
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
            self._segments = shard.info().segments_count
            self._note(in_graph=int(shard.count(edge.CountRequest(exact=True))))

    def adopt(self, folder: Path) -> list[UUID]:
        """Takes the closed index of ``folder`` in place of its own, in one step, and returns the ids of the points that
        its own had. A crash leaves the one or the other.
        """
        with self._guard:
            self.ensure_may_write()
            replaced = self._ids_where_readable()
            built = Saved.read(folder / META, dimension=self._dimension)
            self._folder.mkdir(parents=True, exist_ok=True)
            name = f"shard-{uuid.uuid4().hex}"
            (folder / built.shard).rename(self._folder / name)
            self._close_shard()
            self._take(replace(built, shard=name))
            self._saved.write(self._meta)
            remove_shards(self._folder, but=self._saved.shard)
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
                with edge_errors("close"):
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
            with edge_errors(act):
                yield self._shard

    @contextmanager
    def _written(self) -> Iterator[edge.EdgeShard]:
        with self._open("write to") as shard:
            self._unflushed = True  # even of a write that failed a part may be there
            yield shard

    def _create(self) -> edge.EdgeShard:
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True)
        self._saved = Saved(self._dimension, self.average_length)
        self._unflushed = False
        self._segments = 1
        write_blank_shard(self._folder / self._saved.shard, config_of(self._dimension))
        self._saved.write(self._meta)
        return edge.EdgeShard.load(str(self._folder / self._saved.shard))

    def _take(self, saved: Saved) -> None:
        self._saved = saved
        self._bm25 = Bm25Encoder(saved.average_length)

    def _note(self, **changes: Any) -> None:
        self._saved = replace(self._saved, **changes)
        self._saved.write(self._meta)

    def _load(self) -> edge.EdgeShard:
        self._take(Saved.read(self._meta, dimension=self._dimension))
        remove_shards(self._folder, but=self._saved.shard)
        shard = edge.EdgeShard.load(str(self._folder / self._saved.shard))
        self._unflushed = False  # what the log brought back stays in the log until the next write is flushed
        self._segments = shard.info().segments_count
        return shard

    def _close_shard(self) -> None:
        shard, self._shard = self._shard, None
        if shard is not None:
            shard.close()
