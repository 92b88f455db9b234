"""Runs the limited child process that reads a file, and turns whatever becomes of it into a value or a typed failure.

What always holds: the child is a fork of the nursery (:mod:`ingestion.forking`), which has no threads, or, where there is
none, started by ``subprocess`` without ``preexec_fn`` (the caller has threads); it has an environment of its own, and a
session of its own that is killed whole when the time is up. A child that dies, hangs or answers nonsense is an :class:`~ingestion.guards.IngestionFailure`; where it reads page by page, it
costs the page that it died of. Nothing it writes is trusted, and what it leaves in its folder for temporary files is
removed. The request, which may hold a password, is never on a disk. A child does not outlive its parent, however that
ends: it holds one end of a pipe whose other end only the parent has.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final, Protocol, cast

from ingestion import forking
from ingestion.forking import NurseryEnded
from ingestion.guards import CODES, Code, IngestionFailure, Limits

SCRATCH: Final = "tessera-read-"
"""How the folder for a child's temporary files begins."""
_ANSWERED_NOW: Final = ("render", "rectangles")
"""What a person waits for. Children that do anything else leave the processor to questions."""
_NICENESS: Final = 5
_LOOK_SECONDS: Final = 0.25
_MOST_DEATHS: Final = 8
_DEATHS_IN_A_ROW: Final = 2
_READ_SIZE: Final = 1 << 20


@dataclass(slots=True)
class PageTexts:
    """What became of pages that were read one by one. ``fatal`` are those whose reading ended the child."""

    texts: dict[int, str] = field(default_factory=dict)
    fatal: set[int] = field(default_factory=set)


def run(request: dict[str, Any], limits: Limits) -> dict[str, Any]:
    """The child's answer to ``request``. Raises :class:`IngestionFailure`."""
    try:
        body = _body(request, limits, fork=True)
    except NurseryEnded:
        body = _body(request, limits, fork=False)
    try:
        answer = json.loads(body)
        if failure := answer.get("failure"):
            code = cast(Code, failure["code"]) if failure["code"] in CODES else "malformed"
            raise IngestionFailure(code, str(failure["message"])[:500], remedy=str(failure["remedy"])[:500])
        result = answer["result"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise IngestionFailure("malformed") from error
    if not isinstance(result, dict):
        raise IngestionFailure("malformed")
    return result


def _body(request: dict[str, Any], limits: Limits, *, fork: bool) -> bytes:
    """What the child has written when it ended well."""
    with tempfile.TemporaryFile() as answered:
        with _started(request, limits, answered, fork=fork) as child:
            try:
                status = child.wait(timeout=limits.wall_s)
            except subprocess.TimeoutExpired:
                raise IngestionFailure("timeout") from None
        if status != 0:
            raise death(status)
        answered.seek(0)
        return answered.read(6 * limits.max_characters + 128 * 1024 * 1024)


def run_pages(
    request: dict[str, Any],
    pages: Sequence[int],
    limits: Limits,
    *,
    on_page: Callable[[], None] | None = None,
) -> PageTexts:
    """The texts of ``pages``, read one by one in this order, each within ``request["page_s"]`` seconds.

    A page that ends the child, or takes longer, is given up, and the pages after it are read in a new one, until the wall
    time of ``limits`` is over or children die again and again. A child whose processor time was used up by many pages is
    followed by another, and no page is blamed. ``on_page`` is called for each page, and whatever it raises
    ends the work. Never raises :class:`IngestionFailure`: what could not be read is missing.
    """
    found = PageTexts()
    left = list(pages)
    ends = time.monotonic() + limits.wall_s
    in_a_row = deaths = 0
    fork = True
    while left and time.monotonic() < ends and in_a_row < _DEATHS_IN_A_ROW and deaths < _MOST_DEATHS:
        before = len(left)
        try:
            status = _read_some({**request, "pages": left}, limits, ends, found, on_page, fork=fork)
        except NurseryEnded:
            fork = False
            continue
        left = [page for page in left if page not in found.texts]
        if not status or not left:
            break
        read_some = len(left) < before
        if status == -signal.SIGXCPU and read_some:
            continue
        if status != -signal.SIGALRM:
            deaths += 1
            in_a_row = 0 if read_some else in_a_row + 1
        found.fatal.add(left.pop(0))
    return found


def _read_some(
    request: dict[str, Any],
    limits: Limits,
    ends: float,
    found: PageTexts,
    on_page: Callable[[], None] | None,
    *,
    fork: bool,
) -> int | None:
    """Lets one child read; adds to ``found`` what it answers. The status with which it ended; None when the time was over
    before."""
    with tempfile.TemporaryFile() as answered, _started(request, limits, answered, fork=fork) as child:
        lines = _Lines(answered, 6 * limits.max_characters + 128 * 1024 * 1024)
        status: int | None = None
        while status is None and time.monotonic() < ends:
            with contextlib.suppress(subprocess.TimeoutExpired):
                status = child.wait(timeout=_LOOK_SECONDS)
            for line in lines.new():
                _take(line, request["pages"], found)
                if on_page is not None:
                    on_page()
    return status


def _take(line: bytes, asked: Sequence[int], found: PageTexts) -> None:
    try:
        answer = json.loads(line)
        if answer["page"] in asked and isinstance(answer["text"], str):
            found.texts[answer["page"]] = answer["text"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return


class _Lines:
    """The whole lines that another process has added to a file since they were asked for last."""

    def __init__(self, file: IO[bytes], at_most: int) -> None:
        self._file, self._at_most = file, at_most
        self._place = 0
        self._rest = b""

    def new(self) -> Iterator[bytes]:
        while self._place < self._at_most and (
            block := os.pread(self._file.fileno(), _READ_SIZE, self._place)
        ):
            self._place += len(block)
            *lines, self._rest = (self._rest + block).split(b"\n")
            yield from lines


@contextlib.contextmanager
def _started(request: dict[str, Any], limits: Limits, answered: IO[bytes], *, fork: bool) -> Iterator[_Child]:
    """The child at work on ``request``; it is ended with its session when the block is left."""
    request = {**request, "path": str(Path(request["path"]).resolve()), "limits": dataclasses.asdict(limits)}
    nice = 0 if request["act"] in _ANSWERED_NOW else _NICENESS
    with (
        _in_memory() as asked,
        tempfile.TemporaryDirectory(prefix=SCRATCH, ignore_cleanup_errors=True) as scratch,
        _lifeline() as lifeline,  # left first: who still writes into the folder ends
    ):
        asked.write(json.dumps(request).encode("ascii"))
        asked.seek(0)
        files = {"asked": asked.fileno(), "answered": answered.fileno(), "lifeline": lifeline}
        child: _Child | None = forking.fork(**files, scratch=scratch, nice=nice) if fork else None
        if child is None:
            child = _Program(**files, scratch=scratch, nice=nice)
        try:
            yield child
        finally:
            child.end()


class _Child(Protocol):
    def wait(self, timeout: float) -> int: ...

    def end(self) -> None: ...


class _Program:
    """A child with an interpreter of its own."""

    def __init__(self, *, asked: int, answered: int, lifeline: int, scratch: str, nice: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-s", "-m", "ingestion.parse_child", str(lifeline)],
            stdin=asked,
            stdout=answered,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env={**forking.ENVIRONMENT, "TMPDIR": scratch},
            start_new_session=True,
            close_fds=True,
            pass_fds=[lifeline],
        )
        with contextlib.suppress(ProcessLookupError):
            if nice:
                as_ours = os.getpriority(os.PRIO_PROCESS, 0)
                os.setpriority(os.PRIO_PROCESS, self._process.pid, as_ours + nice)

    def wait(self, timeout: float) -> int:
        return self._process.wait(timeout)

    def end(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if self._process.poll() is None:
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


@contextlib.contextmanager
def _lifeline() -> Iterator[int]:
    """The end of a pipe that the child gets; it hangs up when this process ends, or leaves the block."""
    for_child, ours = os.pipe()  # neither is inherited by a program that does not ask for it
    try:
        yield for_child
    finally:
        os.close(ours)
        os.close(for_child)


def _in_memory() -> IO[bytes]:
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("request"), "w+b")
    return tempfile.TemporaryFile()


def death(status: int) -> IngestionFailure:
    """The failure that fits a child that ended without an answer."""
    if status == -signal.SIGXCPU:
        return IngestionFailure("timeout")
    if status in (-signal.SIGKILL, -signal.SIGXFSZ):
        return IngestionFailure("too_large")
    return IngestionFailure("malformed")
