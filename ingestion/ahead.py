"""Reads the next files while one is in work, lets short documents pass a long one, and gives out those that may go together.

What always holds: each job has a lease of its own, which is kept while it waits; beside the jobs in work at most
``TESSERA_READ_AHEAD`` others are held and one more whose file takes long to be read, or, while all of them are short,
:data:`MOST_SHORT` of :data:`SHORT_CHARACTERS` in all; only the thread that works touches the database, the readers know
files alone; a job that was not begun when the worker ends goes back to the queue unharmed; passing takes at most half of
the time, and a document that passes is never passed itself; and nothing that is read waits for longer than
:data:`PATIENCE_SECONDS` on a file that is still being read.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import TracebackType
from typing import Self

from django.conf import settings
from django.db import Error as DatabaseFailure

from ingestion import child, files, passwords
from ingestion.claiming import claim_more
from ingestion.guards import Limits
from ingestion.leases import Lease, LeaseLost, Stage, Stopping, renew_all
from ingestion.parsed import ParsedDocument
from search.models import DocumentVersion
from tenants.scope import tenant_scope

logger = logging.getLogger(__name__)

KEEP_SECONDS = 5.0
ASK_SECONDS = 1.0
WAIT_SECONDS = 0.1
PATIENCE_SECONDS = 1.0
"""So long the others wait for a file that is being read before one that is read goes first. Few files need more: scans, and
what their first reader stumbles over."""
SHORT_CHARACTERS = 100_000
"""A document of at most so many characters (about 130 passages) may pass one that is in work. Several that go together have
no more in all: a second of the embedder's time."""
MOST_SHORT = 32
ONE_BY_ONE = 4
"""How many jobs are claimed one after the other between two batches, where several organisations have some due."""


class Abandoned(Exception):
    """Nobody waits for the file any more."""


class StillBeingRead(Exception):
    """Another job that is read goes first; the one in hand waits among the others."""


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
    begun_at: float

    @property
    def takes_long(self) -> bool:
        """Whether its file is being read for longer than others wait for it."""
        return not self.result.done() and time.monotonic() - self.begun_at >= PATIENCE_SECONDS

    @property
    def characters(self) -> int:
        """Of its text; before it is read, or where it could not be, a byte of its file counts as one."""
        if self.result.done() and self.result.exception() is None:
            return sum(len(page.text) for page in self.result.result()[0].pages)
        return self.version.size

    @property
    def goes_with_others(self) -> bool:
        """Whether it is read, short, and nothing speaks against doing it with others: no failure, no interruption."""
        return self.short and self.result.exception() is None and not self.lease.interrupted

    @property
    def short(self) -> bool:
        """Whether it is read, and little or nothing follows: a short text or a failure."""
        if not self.result.done():
            return False
        return self.result.exception() is not None or self.characters <= SHORT_CHARACTERS

    def keep(self) -> None:
        """Holds the lease on. Raises as :meth:`Lease.renew` does."""
        if time.monotonic() - self.kept_at >= KEEP_SECONDS:
            done, total = self.pages.told
            self.lease.renew(stage=Stage.PARSING, done=done, total=total, seconds=_seconds(child.limits()))
            self.kept_at = time.monotonic()


class ReadAhead:
    """The jobs that a worker holds beside the one in work. Used by one thread, as a context.

    ``claim`` gives the next job, ``work`` does one that is read, with others if it likes, and returns how many it did.
    ``jobs`` 0 reads no file ahead.
    """

    def __init__(
        self,
        jobs: int,
        *,
        claim: Callable[[], Lease | None],
        work: Callable[[Reading, ReadAhead], int],
        over: float = float("inf"),
    ) -> None:
        self._most, self._claim, self._work, self._over = jobs, claim, work, over
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
        """The job to work on now: of those that wait the first, one that a person waits for before a bulk one, and one that is
        read and short before another. One whose file takes long to be read comes after all the others, and before them once the
        turn is ``over``: it is done in it, or it would be read from its beginning in each."""
        if not self._waiting:
            return self._claim()
        self._fill()
        first = max(
            self._waiting,
            key=lambda reading: (reading.takes_long == self._is_over, reading.lease.priority, reading.short),
        )
        self._waiting.remove(first)
        return first

    @property
    def holds_slow(self) -> bool:
        """Whether a file that takes long to be read waits for its turn."""
        return any(reading.takes_long for reading in self._waiting)

    @property
    def _is_over(self) -> bool:
        return time.monotonic() >= self._over

    def companions(self, reading: Reading) -> list[Reading]:
        """Takes out those that may be done together with ``reading``, which is read: short ones of its organisation that are
        read too, in their order."""
        left = SHORT_CHARACTERS - reading.characters
        found: list[Reading] = []
        if reading.goes_with_others:
            for other in list(self._waiting):
                same = other.lease.organization.pk == reading.lease.organization.pk
                if same and other.goes_with_others and other.characters <= left:
                    left -= other.characters
                    self._waiting.remove(other)
                    found.append(other)
        return found

    def begin(self, lease: Lease) -> Reading:
        """Starts to read the job's file. Raises :class:`LeaseLost` and :class:`Stopping`."""
        begun = self._begin_all([lease])
        if not begun:
            raise LeaseLost(str(lease.job_id))
        return begun[0]

    def _begin_all(self, leases: Sequence[Lease]) -> list[Reading]:
        """Starts to read the files of jobs of one organisation, those that are still ours. Raises :class:`Stopping`."""
        organization, allowed = leases[0].organization, child.limits()
        with tenant_scope(organization):
            rows = DocumentVersion.objects.select_related("document")
            versions = rows.in_bulk([lease.version_id for lease in leases])
        ours = renew_all(
            [lease for lease in leases if lease.version_id in versions],
            stage=Stage.PARSING,
            seconds=_seconds(allowed),
        )
        known = passwords.kept(organization=organization, job_ids=[lease.job_id for lease in ours])
        for lease in ours:
            lease.sealed_password = known.get(lease.job_id, "")
        return [self._read(lease, versions[lease.version_id], allowed) for lease in ours]

    def _read(self, lease: Lease, version: DocumentVersion, allowed: Limits) -> Reading:
        pages = Pages()
        password = passwords.opened(lease.sealed_password, job_id=lease.job_id)

        def read() -> tuple[ParsedDocument, datetime]:
            lease.begun_at = lease.clock()  # nobody pays for the time in which a file waits for its reader
            with files.local_copy(version.file) as path:
                name = version.document.filename
                parsed = child.parse_file(
                    path, filename=name, limits=allowed, password=password, on_page=pages.read
                )
            return parsed, lease.clock()

        now = time.monotonic()
        return Reading(lease, version, self._readers.submit(read), pages, kept_at=now, begun_at=now)

    def document(self, reading: Reading) -> ParsedDocument:
        """Waits for the file to be read; others are read, and pass, meanwhile. Raises what reading raises, and
        :class:`StillBeingRead` where it takes long and another, of any length, is read: then this one waits with the others.
        The time that a job waited, read, for its turn is not its organisation's to pay for."""
        lease = reading.lease
        done, total = reading.pages.told
        lease.renew(stage=Stage.PARSING, done=done, total=total, seconds=_seconds(child.limits()))
        try:
            while not wait([reading.result], timeout=WAIT_SECONDS).done:
                reading.keep()
                self.meanwhile(lease, reading.keep)
                read = any(other.result.done() for other in self._waiting)
                if read and reading.takes_long and not self._is_over:
                    self._waiting.insert(0, reading)
                    raise StillBeingRead
        except StillBeingRead:
            raise
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
        if not self.look_after():
            return
        short = next((reading for reading in self._waiting if reading.short), None)
        if short is not None and time.monotonic() >= self._may_pass_at:
            self._waiting.remove(short)
            self._let_pass(short, lease, keep)
            keep()

    def look_after(self) -> bool:
        """Claims, and keeps what waits. False while a job is being passed: then that one is kept, and nothing else done."""
        if self._held_up is not None:
            self._keep_held_up(time.monotonic())
            return False
        self._fill()
        for reading in list(self._waiting):
            try:
                reading.keep()
            except (LeaseLost, Stopping) as end:
                self._waiting.remove(reading)
                reading.pages.abandoned = True
                if isinstance(end, Stopping):
                    _return(reading.lease)
        return True

    def _let_pass(self, short: Reading, held_up: Lease, keep: Callable[[], None]) -> None:
        began, clock = time.monotonic(), held_up.clock()
        self._held_up, self._kept_at = keep, began
        try:
            self.passed += self._work(short, self)
        finally:
            self._held_up = None
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

    def _fill(self) -> None:
        """Claims what there is room for, unless there was nothing a moment ago. What goes wrong here must not end the job in
        work."""
        now = time.monotonic()
        if now - self._asked_at < ASK_SECONDS:
            return
        for _ in range(ONE_BY_ONE):
            if not self._has_room():
                return
            if not self._take():
                self._asked_at = now
                return

    def _has_room(self) -> bool:
        """Whether no more is held than the setting says, or little of it is: at most half of what short ones may be. A file
        that takes long to be read is not counted while a reader is left for others."""
        held = len(self._waiting)
        slow = sum(reading.takes_long for reading in self._waiting)
        if held - slow < self._most and held <= self._most:
            return True
        if not self._most or held > MOST_SHORT // 2:
            return False
        return 2 * sum(reading.characters for reading in self._waiting) <= SHORT_CHARACTERS

    def _take(self) -> bool:
        """Claims a job, and with a short one those that come after it, and starts to read them. False when none is due."""
        try:
            lease = self._claim()
        except DatabaseFailure:
            logger.warning("no job could be claimed ahead", exc_info=True)
            return False
        if lease is None:
            return False
        leases = [lease]
        try:
            self._waiting += self._begin_all(leases)
            leases = []  # it is read from here on, whatever becomes of the others
            room = SHORT_CHARACTERS - sum(reading.characters for reading in self._waiting)
            leases = (
                claim_more(lease, most=MOST_SHORT - len(self._waiting), characters=room) if room > 0 else []
            )
            if leases:
                self._waiting += self._begin_all(leases)
        except (Stopping, DatabaseFailure):
            for each in leases:
                _return(each)
        return True


def _return(lease: Lease) -> None:
    try:
        lease.put_back()
    except (LeaseLost, DatabaseFailure):
        logger.info("job %s was not put back; its lease will run out", lease.job_id)


def _seconds(limits: Limits) -> float:
    return 2 * limits.wall_s + float(settings.ENV.lease_seconds) / 2  # two readers
