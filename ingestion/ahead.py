"""Reads the next files while one is in work, and lets short documents pass a long one.

What always holds: each job has a lease of its own, which is kept while it waits; at most ``TESSERA_READ_AHEAD`` jobs are
held beside the one in work; only the thread that works touches the database, the readers know files alone; a job
that was not begun when the worker ends goes back to the queue unharmed; passing takes at most half of the time, and a
document that passes is never passed itself.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import TracebackType
from typing import Self

from django.conf import settings
from django.db import Error as DatabaseFailure

from ingestion import child, files, passwords
from ingestion.guards import Limits
from ingestion.leases import Lease, LeaseLost, Stage, Stopping
from ingestion.parsed import ParsedDocument
from search.models import DocumentVersion
from tenants.scope import tenant_scope

logger = logging.getLogger(__name__)

KEEP_SECONDS = 5.0
ASK_SECONDS = 1.0
WAIT_SECONDS = 0.1
SHORT_CHARACTERS = 100_000
"""A document of at most so many characters (about 130 passages) may pass one that is in work."""


class Abandoned(Exception):
    """Nobody waits for the file any more."""


@dataclass(slots=True)
class Pages:
    """How many of how many pages are read, told by a reader to the thread that works, and whether it may end."""

    told: tuple[int, int] = (0, 0)
    abandoned: bool = False

    def read(self, done: int, total: int) -> None:
        """Raises :class:`Abandoned`."""
        self.told = (done, total)
        if self.abandoned:
            raise Abandoned


@dataclass(slots=True)
class Reading:
    """A job whose file is being read."""

    lease: Lease
    version: DocumentVersion
    result: Future[tuple[ParsedDocument, datetime]]
    pages: Pages
    kept_at: float

    @property
    def short(self) -> bool:
        """Whether it is read, and little or nothing follows: a short text or a failure."""
        if not self.result.done():
            return False
        if self.result.exception() is not None:
            return True
        return sum(len(page.text) for page in self.result.result()[0].pages) <= SHORT_CHARACTERS

    def keep(self) -> None:
        """Holds the lease on. Raises as :meth:`Lease.renew` does."""
        if time.monotonic() - self.kept_at >= KEEP_SECONDS:
            done, total = self.pages.told
            self.lease.renew(stage=Stage.PARSING, done=done, total=total, seconds=_seconds(child.limits()))
            self.kept_at = time.monotonic()


class ReadAhead:
    """The jobs that a worker holds beside the one in work. Used by one thread, as a context.

    ``claim`` gives the next job, ``work`` does one that is read. ``jobs`` 0 reads no file ahead.
    """

    def __init__(
        self, jobs: int, *, claim: Callable[[], Lease | None], work: Callable[[Reading, ReadAhead], None]
    ) -> None:
        self._most, self._claim, self._work = jobs, claim, work
        self._readers = ThreadPoolExecutor(1 + jobs, thread_name_prefix="ingestion-reader")
        self._waiting: list[Reading] = []
        self._held_up: Callable[[], None] | None = None
        self._kept_at = 0.0
        self._asked_at = self._may_pass_at = float("-inf")
        self.passed = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for reading in self._waiting:
            reading.pages.abandoned = True
            _return(reading.lease)
        self._readers.shutdown(cancel_futures=True)

    def next(self) -> Lease | Reading | None:
        """The job to work on now: the one that was claimed first, or one claimed now."""
        return self._waiting.pop(0) if self._waiting else self._claim()

    def begin(self, lease: Lease) -> Reading:
        """Starts to read the job's file. Raises :class:`LeaseLost` and :class:`Stopping`."""
        with tenant_scope(lease.organization):
            version = DocumentVersion.objects.select_related("document").filter(id=lease.version_id).first()
        if version is None:
            raise LeaseLost(str(lease.job_id))
        allowed, pages = child.limits(), Pages()
        lease.renew(stage=Stage.PARSING, seconds=_seconds(allowed))
        password = passwords.of_job(organization=lease.organization, job_id=lease.job_id)

        def read() -> tuple[ParsedDocument, datetime]:
            with files.local_copy(version.file) as path:
                name = version.document.filename
                parsed = child.parse_file(
                    path, filename=name, limits=allowed, password=password, on_page=pages.read
                )
            return parsed, lease.clock()

        return Reading(lease, version, self._readers.submit(read), pages, time.monotonic())

    def document(self, reading: Reading) -> ParsedDocument:
        """Waits for the file to be read; others are read, and pass, meanwhile. Raises what reading raises. The time that
        a job waited, read, for its turn is not its organisation's to pay for."""
        lease = reading.lease
        lease.renew(stage=Stage.PARSING, seconds=_seconds(child.limits()))
        try:
            while not wait([reading.result], timeout=WAIT_SECONDS).done:
                reading.keep()
                self.meanwhile(lease, reading.keep)
        except BaseException:
            reading.pages.abandoned = True
            raise
        parsed, read_at = reading.result.result()
        lease.begun_at += max(lease.clock() - read_at, timedelta())
        lease.renew(stage=Stage.PARSING, done=0, total=len(parsed.pages))
        return parsed

    def meanwhile(self, lease: Lease, keep: Callable[[], None]) -> None:
        """Called again and again by the job in work: claims, keeps what waits, and lets what is short pass. ``keep`` holds
        the caller's own lease; it is called after something passed. Raises what ``keep`` raises."""
        now = time.monotonic()
        if self._held_up is not None:
            self._keep_held_up(now)
            return
        if len(self._waiting) < self._most and now - self._asked_at >= ASK_SECONDS:
            self._asked_at = now
            self._take()
        for reading in list(self._waiting):
            try:
                reading.keep()
            except (LeaseLost, Stopping) as end:
                self._waiting.remove(reading)
                reading.pages.abandoned = True
                if isinstance(end, Stopping):
                    _return(reading.lease)
        short = next((reading for reading in self._waiting if reading.short), None)
        if short is not None and now >= self._may_pass_at:
            self._waiting.remove(short)
            self._let_pass(short, lease, keep)
            keep()

    def _let_pass(self, short: Reading, held_up: Lease, keep: Callable[[], None]) -> None:
        began, clock = time.monotonic(), held_up.clock()
        self._held_up, self._kept_at = keep, began
        try:
            self._work(short, self)
        finally:
            self._held_up = None
            self.passed += 1
            ended = time.monotonic()
            self._may_pass_at = ended + (ended - began)
            self._asked_at = float("-inf")
            held_up.begun_at += held_up.clock() - clock

    def _keep_held_up(self, now: float) -> None:
        """Keeps the lease of the job that is being passed. That it was lost is found out by that job itself."""
        if self._held_up is not None and now - self._kept_at >= KEEP_SECONDS:
            self._kept_at = now
            with contextlib.suppress(LeaseLost, Stopping):
                self._held_up()

    def _take(self) -> None:
        """Claims one job and starts to read it. What goes wrong here must not end the job in work."""
        try:
            lease = self._claim()
        except DatabaseFailure:
            logger.warning("no job could be claimed ahead", exc_info=True)
            return
        if lease is None:
            return
        try:
            self._waiting.append(self.begin(lease))
        except LeaseLost:
            logger.info("job %s is no longer ours", lease.job_id)
        except (Stopping, DatabaseFailure):
            _return(lease)


def _return(lease: Lease) -> None:
    try:
        lease.put_back()
    except (LeaseLost, DatabaseFailure):
        logger.info("job %s was not put back; its lease will run out", lease.job_id)


def _seconds(limits: Limits) -> float:
    return 2 * limits.wall_s + float(settings.ENV.lease_seconds) / 2  # two readers
