"""One process per embedded index.

Qdrant Edge refuses a second ``load`` of a shard, but the refused attempt makes the *first* holder's next
``flush`` fail. So this lock is taken before any shard is touched, and an attempt without it does no harm.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from search.index.errors import IndexLocked


class IndexLock:
    """An exclusive lock on a file, released by :meth:`release` or by the end of the process."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._descriptor: int | None = None
        self._pid = 0

    @property
    def held(self) -> bool:
        """Whether this object, in this very process, holds the lock."""
        return self._descriptor is not None and self._pid == os.getpid()

    def acquire(self) -> None:
        """Takes the lock; does nothing when it is held. Raises ``IndexLocked``, naming the holder."""
        if self.held:
            return
        self._file.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._file, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.read(descriptor, 20).decode("ascii", "replace").strip() or "unknown"
            os.close(descriptor)
            raise IndexLocked(f"The index is in use by process {holder}, which runs the product.") from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode("ascii"), 0)
        self._descriptor, self._pid = descriptor, os.getpid()

    def release(self) -> None:
        """Gives the lock back; does nothing when it is not held."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
