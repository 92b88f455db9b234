"""How much of a file's time the process that reads it has left, so that a reader ends before the system ends it.

Runs only inside the limited child process, which is told when it begins; elsewhere nothing counts as used.
"""

from __future__ import annotations

import time

from ingestion.guards import Limits

_begun: tuple[float, float] | None = None


def begin() -> None:
    """The process begins with its file now."""
    global _begun
    _begun = time.process_time(), time.monotonic()


def time_left(limits: Limits) -> float:
    """Seconds of processor or wall time that ``limits`` leave, whichever are fewer; below 0 when they are over."""
    used = (time.process_time() - _begun[0], time.monotonic() - _begun[1]) if _begun is not None else (0, 0)
    return float(min(limits.cpu_s - used[0], limits.wall_s - used[1]))
