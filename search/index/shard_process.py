"""Qdrant Edge in a child process, so that none of its calls holds up a page.

Each call into Qdrant Edge holds the interpreter's lock: 15 ms for a batch of points, 0.9 s to open 100,000 of them,
36 s to build a graph over them. In a process of its own it holds up nobody but the calls behind it.

What always holds: one call is under way at a time, in the order of arrival; the child inherits the lock of the index,
so that nobody takes the folder while it closes the shards of a killed parent; a child that died is started anew and
the call repeated once, which is safe because no call does more when it is done twice. ``adopt`` does less: where the first
try had moved the new shard already, the second fails, the folder holds the old index or the new one whole, and the reindex
is done once more.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from uuid import UUID

from search.index.errors import IndexAway, IndexClosed
from search.index.lock import IndexLock

logger = logging.getLogger(__name__)

ROOT = Path(__file__).resolve().parents[2]
LONGEST_CALL_S = 120.0
"""A child that is silent for so long is ended. Building a graph may take longer and has no limit."""
CLOSING_S = 60.0
INTERRUPTED_S = 5.0

Question = tuple[str, tuple[Any, ...], dict[str, Any]]
"""What is asked of the keeper in the child: the method, its arguments and its named arguments."""


class ShardProcess:
    """A :class:`search.index.shards.ShardKeeper` in a child, which starts with the first call. Thread-safe.

    Without a ``lock`` the child takes one of its own in ``home``, a folder that nobody else knows.
    """

    def __init__(
        self, home: Path, *, lock: IndexLock | None, dimension: int, most_open: int, nice: int = 0
    ) -> None:
        self._home = home
        self._lock = lock
        self._arguments = (str(home), str(dimension), str(most_open), str(nice))
        self._turns = Turns()
        self._connection: Connection | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._closed = False
        self._pid = os.getpid()

    @property
    def pid(self) -> int | None:
        """The child's number while one runs."""
        return self._process.pid if self._process is not None else None

    def call(self, key: int, act: str, *args: Any, **named: Any) -> Any:
        return self._ask("call", key, act, *args, **named)

    def create(self, key: int, average_length: float) -> None:
        self._ask("create", key, average_length)

    def adopt(self, key: int, folder: Path) -> set[UUID]:
        found: set[UUID] = self._ask("adopt", key, folder)
        return found

    def close_one(self, key: int) -> None:
        self._ask("close_one", key)

    def close(self) -> None:
        """Lets the child flush, close and end; every later call raises ``IndexClosed``. Idempotent."""
        self._closed = True
        if self._pid == os.getpid():
            with self._turns.next():
                self._end(CLOSING_S)

    def _ask(self, act: str, *args: Any, **named: Any) -> Any:
        if self._pid != os.getpid():
            raise IndexClosed("The index was opened by the parent of this process.")
        question = (act, args, named)
        with self._turns.next():
            try:
                done, value = self._exchange(question)
            except (EOFError, OSError) as first:
                logger.warning("the index's process ended (%r); it starts again", first)
                done, value = self._once_more(question)
        if not done:
            raise value
        return value

    def _once_more(self, question: Question) -> tuple[bool, Any]:
        self._end(0)
        try:
            return self._exchange(question)
        except (EOFError, OSError) as second:
            self._end(0)
            raise IndexAway(f"The process of the embedded index ended twice at {question[0]}.") from second

    def _exchange(self, question: Question) -> tuple[bool, Any]:
        if self._closed:
            raise IndexClosed("The index was closed.")
        connection = self._connection or self._start()
        try:
            connection.send(question)
            if not connection.poll(None if "optimize" in question[1] else LONGEST_CALL_S):
                raise TimeoutError(f"no answer within {LONGEST_CALL_S:.0f} s")
            answer: tuple[bool, Any] = connection.recv()
        except (EOFError, OSError):
            raise
        except BaseException:
            self._end(INTERRUPTED_S)  # Ctrl-C: the next call must not take this one's answer
            raise
        return answer

    def _start(self) -> Connection:
        ours, theirs = Pipe()
        inherited = [theirs.fileno()] + ([] if self._lock is None else [self._lock.descriptor])
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-P", "-s", "-m", "search.index.shard_child", str(theirs.fileno())),
                str(-1 if self._lock is None else self._lock.descriptor),
                *self._arguments,
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            cwd="/",
            env={**_kept_environment(), "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
            pass_fds=inherited,
            start_new_session=True,
        )
        theirs.close()
        self._connection = ours
        return ours

    def _end(self, patience_s: float) -> None:
        connection, process = self._connection, self._process
        self._connection = self._process = None
        if connection is not None:
            connection.close()
        if process is not None:
            try:
                process.wait(patience_s)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


class Turns:
    """A lock that is given in the order of asking: a writer that comes back at once cannot overtake a question."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._waiting: deque[threading.Event] = deque()
        self._busy = False

    @contextmanager
    def next(self) -> Iterator[None]:
        mine = threading.Event()
        with self._guard:
            if self._busy:
                self._waiting.append(mine)
            else:
                self._busy = True
                mine.set()
        mine.wait()
        try:
            yield
        finally:
            with self._guard:
                if self._waiting:
                    self._waiting.popleft().set()
                else:
                    self._busy = False


def _kept_environment() -> dict[str, str]:
    """No secret of the product is needed there."""
    return {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR", "HOME") if name in os.environ}
