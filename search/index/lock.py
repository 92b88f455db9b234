"""One process per embedded index.

Qdrant Edge refuses a second ``load`` of a shard, but the refused attempt makes the *first* holder's next
``flush`` fail. So this lock is taken before any shard is touched, and an attempt without it does no harm.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from search.index.errors import IndexLocked

ORPHAN_SECONDS = 20.0
"""How long the child of a killed process may take to close its shards."""


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

    @classmethod
    def inherited(cls, file: Path, descriptor: int) -> IndexLock:
        """The lock that the parent of this process took, and that is free when both have ended."""
        lock = cls(file)
        lock._descriptor, lock._pid = descriptor, os.getpid()
        return lock

    @property
    def descriptor(self) -> int:
        """What a child inherits. Raises ``IndexLocked`` when the lock is not held."""
        if self._descriptor is None or not self.held:
            raise IndexLocked("The lock of the index is not held.")
        return self._descriptor

    def acquire(self) -> None:
        """Takes the lock; does nothing when it is held. Raises ``IndexLocked``, naming the holder.

        The shards of a process that was killed are closed by its child, which is waited for.
        """
        if self.held:
            return
        self._file.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._file, os.O_RDWR | os.O_CREAT, 0o600)
        deadline = time.monotonic() + ORPHAN_SECONDS
        while not _taken(descriptor):
            holder = os.pread(descriptor, 20, 0).decode("ascii", "replace").strip() or "unknown"
            if _lives(holder) or time.monotonic() > deadline:
                os.close(descriptor)
                raise IndexLocked(f"The index is in use by process {holder}, which runs the product.")
            time.sleep(0.05)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode("ascii"), 0)
        self._descriptor, self._pid = descriptor, os.getpid()

    def release(self) -> None:
        """Gives the lock back; does nothing when it is not held."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _lives(holder: str) -> bool:
    if not holder.isdigit():
        return True  # it has the lock and is about to write its number
    try:
        os.kill(int(holder), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
