"""The embedded index of one organisation, for everybody who asks.

What always holds: it is a handle and holds no shard; whether the shard is open, and in which process, is the keeper's
concern. What a call may take long for is asked for in pieces, so that a question comes in between.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from search.index.base import IndexFilter, IndexState, Match, Point, Vector
from search.index.checks import check_points
from search.index.errors import IndexClosed
from search.index.layout import READ_BATCH, UPSERT_BATCH
from search.index.shards import ShardKeeper


class EmbeddedIndex:
    """A :class:`search.index.base.VectorIndex` over the shard ``key`` of a keeper."""

    def __init__(self, keeper: ShardKeeper, key: int, *, dimension: int) -> None:
        self._keeper = keeper
        self._key = key
        self._dimension = dimension
        self._closed = False

    def ensure(self) -> None:
        self._call("ensure")

    def upsert(self, points: Sequence[Point]) -> None:
        check_points(points, self._dimension)
        for start in range(0, len(points), UPSERT_BATCH):
            self._call("upsert", list(points[start : start + UPSERT_BATCH]))

    def delete(self, ids: Sequence[UUID]) -> None:
        for start in range(0, len(ids), READ_BATCH):
            self._call("delete", list(ids[start : start + READ_BATCH]))

    def delete_document(self, document_id: UUID) -> None:
        self._call("delete_document", document_id)

    def delete_version(self, version_id: UUID) -> None:
        self._call("delete_version", version_id)

    def query(
        self, *, text: str, dense: Vector | None, filter: IndexFilter, limit: int, earlier: str = ""
    ) -> list[Match]:
        found: list[Match] = self._call(
            "query", text=text, dense=dense, filter=filter, limit=limit, earlier=earlier
        )
        return found

    def count(self) -> int:
        return int(self._call("count"))

    def state(self) -> IndexState:
        found: IndexState = self._call("state")
        return found

    def ids(self) -> set[UUID]:
        found: set[UUID] = set()
        offset: UUID | None = None
        while True:
            page, offset = self._call("page_of_ids", offset)
            found.update(page)
            if offset is None:
                return found

    def vectors(self, ids: Sequence[UUID]) -> dict[UUID, Vector]:
        found: dict[UUID, Vector] = {}
        for start in range(0, len(ids), READ_BATCH):
            found |= self._call("vectors", list(ids[start : start + READ_BATCH]))
        return found

    def flush(self) -> None:
        self._call("flush")

    def optimize(self) -> None:
        self._call("optimize")

    def drop(self) -> None:
        """Deletes the shard and its folder. A later call creates an empty one."""
        self._call("drop")

    def close(self) -> None:
        """Flushes and closes the shard; every later call of this object raises ``IndexClosed``. Idempotent."""
        if not self._closed:
            self._closed = True
            self._keeper.close_one(self._key)

    def _call(self, act: str, *args: Any, **named: Any) -> Any:
        if self._closed:
            raise IndexClosed("The index was closed.")
        return self._keeper.call(self._key, act, *args, **named)
