"""The child that holds the shards for :class:`search.index.shard_process.ShardProcess`.

What always holds: one call at a time, answered in order; when the parent ends, by whatever way, the shards are
flushed and closed. It knows neither Django nor a model, only folders and numbers.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from search.index.errors import IndexFailure
from search.index.lock import IndexLock
from search.index.shards import Shards

PR_SET_PDEATHSIG = 1
BUILT_IN = (IndexFailure, ValueError, TypeError, OSError)
"""Errors that the parent understands; any other becomes an :class:`IndexFailure`."""


def main(socket: int, lock: int, home: str, dimension: int, most_open: int, nice: int) -> None:
    """Answers calls until the parent is gone. A ``lock`` below 0 means a lock of its own, in ``home``."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    if nice:
        os.nice(nice)
    if lock < 0:
        _end_with_the_parent()
    connection = Connection(socket)
    held = IndexLock(Path(home) / "lock")
    if lock < 0:
        held.acquire()
    else:
        held = IndexLock.inherited(Path(home) / "lock", lock)
    shards = Shards(Path(home), lock=held, dimension=dimension, most_open=most_open)
    try:
        while True:
            connection.send(_answer(shards, *connection.recv()))
    except (EOFError, OSError):
        pass  # the parent has closed its end, or has died
    finally:
        shards.close()


def _end_with_the_parent() -> None:
    """Who builds an index has nothing to close, and would compute on for nobody. Where the system cannot (it is no
    Linux), it ends with the call in hand."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _answer(shards: Shards, act: str, args: tuple[Any, ...], named: dict[str, Any]) -> tuple[bool, Any]:
    """``(True, value)`` or ``(False, error)``."""
    try:
        return True, getattr(shards, act)(*args, **named)
    except BUILT_IN as error:
        return False, error
    except Exception as error:
        return False, IndexFailure(f"The index failed: {error!r}")


if __name__ == "__main__":
    socket_, lock_, home_, dimension_, most_open_, nice_ = sys.argv[1:]
    main(int(socket_), int(lock_), home_, int(dimension_), int(most_open_), int(nice_))
