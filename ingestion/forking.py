"""Asks the nursery (:mod:`ingestion.nursery`) for children; starts it at the first one, and anew when it has ended.

What always holds: a process has at most one nursery and shares none with a process that it forked or that forked it; what
a fork is given goes through descriptors, none of which the nursery reads; who asked for a child can end it, and knows
then that it is gone. Where there is no nursery, because the system cannot (it is no Linux) or because it keeps ending,
:func:`fork` says so, and the child is started as a program.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import logging
import os
import select
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final

logger = logging.getLogger(__name__)

_ROOT: Final = Path(__file__).resolve().parent.parent
ENVIRONMENT: Final = {
    "PYTHONPATH": str(_ROOT),
    "LANG": "C.UTF-8",
    "PYTHONUTF8": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
    "OPENBLAS_NUM_THREADS": "1",  # each thread reserves address space, which RLIMIT_AS counts
    "OMP_NUM_THREADS": "1",
}
"""Of a child, however it is started: nothing of the product's own, which has secrets in it."""
ENDS_AT_MOST: Final = 3
"""Nurseries that ended one after the other before any child of theirs did; then none is started any more."""
CLOSING_SECONDS: Final = 10.0
MODULE: Final = "ingestion.nursery"


class NurseryEnded(Exception):
    """The nursery died under a child, whose status nobody will know. It says nothing about the file."""


class Fork:
    """A child of the nursery: what of :class:`subprocess.Popen` a reader's parent needs."""

    def __init__(self, line: socket.socket) -> None:
        self._line = line
        self._status: int | None = None

    def wait(self, timeout: float) -> int:
        """The exit status; below 0 the signal that ended it. Raises ``TimeoutExpired`` and :class:`NurseryEnded`."""
        if self._status is None:
            ready = select.poll()
            ready.register(self._line, select.POLLIN)
            if not ready.poll(max(timeout, 0) * 1000):
                raise subprocess.TimeoutExpired("fork", timeout)
            told = self._line.recv(32)
            if not told:
                raise NurseryEnded
            self._status = int(told)
            _nurseries.worked()
        return self._status

    def end(self) -> None:
        """Kills the child with its session, unless it has ended, and waits until it has."""
        with self._line as line, contextlib.suppress(OSError):
            line.shutdown(socket.SHUT_WR)
            line.settimeout(CLOSING_SECONDS)
            while self._status is None and (told := line.recv(32)):
                self._status = int(told)


class _Nurseries:
    """The nursery of this process, if it has one. Thread-safe."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._running: tuple[subprocess.Popen[bytes], socket.socket] | None = None
        self._ended = 0

    def send(self, message: bytes, descriptors: Sequence[int]) -> bool:
        """False when there is no nursery."""
        with self._guard:
            while self._ended < ENDS_AT_MOST:
                if self._running is None:
                    self._running = _start()
                try:
                    socket.send_fds(self._running[1], [message], descriptors)
                    return True
                except OSError:
                    self._end()
                    self._ended += 1
                    logger.warning("the process that forks readers had ended; it starts again")
        return False

    def worked(self) -> None:
        self._ended = 0

    def prepare(self) -> None:
        with self._guard:
            if self._running is None and self._ended < ENDS_AT_MOST:
                self._running = _start()

    def pid(self) -> int | None:
        running = self._running
        return None if running is None else running[0].pid

    def close(self) -> None:
        with self._guard:
            self._end()

    def _end(self) -> None:
        running, self._running = self._running, None
        if running is not None:
            process, control = running
            control.close()
            try:
                process.wait(CLOSING_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def forget(self) -> None:
        """In a process that was forked: the nursery is its parent's."""
        if self._running is not None:
            self._running[1].close()
            self._running[0].returncode = 0  # so that nobody here waits for it
        self._guard, self._running, self._ended = threading.Lock(), None, 0


def _start() -> tuple[subprocess.Popen[bytes], socket.socket]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-P", "-s", "-m", MODULE],
            stdin=theirs.fileno(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env={**ENVIRONMENT, "TMPDIR": tempfile.gettempdir()},
            start_new_session=True,
        )
    return process, ours


_nurseries: Final = _Nurseries()
os.register_at_fork(after_in_child=_nurseries.forget)
atexit.register(_nurseries.close)


def fork(*, asked: int, answered: int, lifeline: int, scratch: str, nice: int) -> Fork | None:
    """A child with these descriptors as stdin, stdout and lifeline; None where it has to be started as a program."""
    if sys.platform != "linux":
        return None
    ours, theirs = socket.socketpair()
    message = json.dumps({"scratch": scratch, "nice": nice}).encode("ascii")
    with theirs:
        if _nurseries.send(message, [theirs.fileno(), asked, answered, lifeline]):
            return Fork(ours)
    ours.close()
    return None


def prepare() -> None:
    """Starts the nursery, so that the first file does not wait for its imports."""
    if sys.platform == "linux":
        _nurseries.prepare()


def nursery_pid() -> int | None:
    """The number of this process's nursery, while it has one."""
    return _nurseries.pid()
