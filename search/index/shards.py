"""The open shards of one folder: opened when they are asked for, the least recently used closed.

What always holds: no more than ``most_open`` are open; one call runs at a time, so that no shard is closed under a
call. That costs nothing, since each call into Qdrant Edge holds the interpreter's lock anyway.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any, Protocol
from uuid import UUID

from search.index.edge import EdgeIndex
from search.index.errors import IndexClosed
from search.index.lock import IndexLock

ACTS = frozenset(
    {
        *("ensure", "upsert", "delete", "delete_document", "delete_version", "query", "count", "state"),
        *("page_of_ids", "vectors", "flush", "optimize", "drop"),
    }
)
"""The methods of :class:`search.index.edge.EdgeIndex` that may be asked for by name."""


class ShardKeeper(Protocol):
    """Who holds the shards of a folder: this process, or a child."""

    def call(self, key: int, act: str, *args: Any, **named: Any) -> Any:
        """What ``act`` of the organisation's index returns; raises what it raises."""
        ...

    def create(self, key: int, average_length: float) -> None:
        """An empty index in place of what there was, made for that mean passage length."""
        ...

    def adopt(self, key: int, folder: Path) -> set[UUID]:
        """Takes the closed index of ``folder`` in place of its own; returns the ids that its own had."""
        ...

    def close_one(self, key: int) -> None: ...

    def close(self) -> None: ...


class Shards:
    """A :class:`ShardKeeper` in this process. Thread-safe."""

    def __init__(self, home: Path, *, lock: IndexLock, dimension: int, most_open: int) -> None:
        self._home = home
        self._lock = lock
        self._dimension = dimension
        self._most_open = most_open
        self._guard = threading.RLock()
        self._open: OrderedDict[int, EdgeIndex] = OrderedDict()
        self._closed = False
        self._pid = os.getpid()

    def call(self, key: int, act: str, *args: Any, **named: Any) -> Any:
        if act not in ACTS:
            raise ValueError(f"An index has no {act!r}.")
        self._refuse_the_forked()
        with self._guard:
            return getattr(self._use(key), act)(*args, **named)

    def create(self, key: int, average_length: float) -> None:
        self._refuse_the_forked()
        with self._guard:
            self.close_one(key)
            fresh = self._index(key, average_length=average_length)
            fresh.drop()
            fresh.ensure()
            fresh.close()

    def adopt(self, key: int, folder: Path) -> set[UUID]:
        self._refuse_the_forked()
        with self._guard:
            return set(self._use(key).adopt(folder))

    def close_one(self, key: int) -> None:
        self._refuse_the_forked()
        with self._guard:
            index = self._open.pop(key, None)
            if index is not None:
                index.close()

    def close(self) -> None:
        """Flushes and closes all; every later call raises ``IndexClosed``. Raises the first failure after all."""
        self._closed = True
        if self._pid != os.getpid():
            return
        failures: list[Exception] = []
        with self._guard:
            while self._open:
                _, index = self._open.popitem()
                try:
                    index.close()
                except Exception as failure:
                    failures.append(failure)
        if failures:
            raise failures[0]

    def _use(self, key: int) -> EdgeIndex:
        if self._closed:
            raise IndexClosed("The index was closed.")
        index = self._open.get(key)
        if index is None:
            while len(self._open) >= self._most_open:
                _, oldest = self._open.popitem(last=False)
                oldest.close()
            index = self._open[key] = self._index(key)
        self._open.move_to_end(key)
        return index

    def _index(self, key: int, **options: float) -> EdgeIndex:
        return EdgeIndex(self._home / str(key), lock=self._lock, dimension=self._dimension, **options)

    def _refuse_the_forked(self) -> None:
        """A forked child would hang on the guard or on the shard."""
        if self._pid != os.getpid():
            raise IndexClosed("The index was opened by the parent of this process.")
