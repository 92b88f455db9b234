"""Work on the index for the operator: done here when nothing runs, by the running product otherwise.

The embedded index belongs to one process. A command that needs it takes it where it is free; where the product holds
it the command writes a job, which a thread of the product does, and prints what the job says until it ends. With a
Qdrant server a command works beside the product.

What always holds: one job runs at a time; a job whose worker died is taken over, by the next product or by the command
that waits for it, three times at most; every act may be done twice. A package registers what it offers when its
application starts.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import connections
from django.db.models import F, Q
from django.utils import timezone

from search.index import IndexFailure, claim, close_all
from search.index.errors import IndexClosed, IndexLocked
from search.models import MaintenanceJob
from tenants.models import Organization

logger = logging.getLogger(__name__)

Status = MaintenanceJob.Status
Write = Callable[[str], None]
Act = Callable[[dict[str, Any], Write], int]
"""Does the work with its arguments, writes lines for the operator, and returns the exit status of the command."""

BUILDING = "building"
"""The act of a row that says who makes an index anew beside others that could."""
SILENT_FOR = timedelta(seconds=30)
"""A worker that wrote no sign of life for so long is dead."""
BEAT_SECONDS = 5.0
LOOK_SECONDS = 1.0
MOST_ATTEMPTS = 3
KEPT_FOR = timedelta(days=30)

_acts: dict[str, Act] = {}


class MaintenanceLost(Exception):
    """Somebody else took the job over, or will, since this process ends."""


def register(name: str, act: Act) -> None:
    """Offers ``act`` under the name of its command."""
    _acts[name] = act


def run(name: str, arguments: dict[str, Any], write: Write, *, notice: Write | None = None) -> int:
    """Does what the command ``name`` is for, here or in the running product; returns its exit status.

    ``notice`` is told, once, who is waited for. Raises :class:`search.index.IndexFailure`.
    """
    if settings.ENV.qdrant_url:
        return _acts[name](arguments, write)
    try:
        claim()
    except IndexLocked as locked:
        if notice is not None:
            notice(f"{locked} It is asked to do this.")
        return _ask(name, arguments, write)
    try:
        return _acts[name](arguments, write)
    finally:
        close_all()


def queue(name: str, arguments: dict[str, Any]) -> MaintenanceJob:
    """A job for whoever holds the index; the one that waits already where it is the same."""
    MaintenanceJob.objects.filter(created_at__lt=timezone.now() - KEPT_FOR).delete()
    waiting = MaintenanceJob.objects.filter(act=name, arguments=arguments, status=Status.QUEUED).first()
    return waiting or MaintenanceJob.objects.create(act=name, arguments=arguments)


@contextmanager
def alone(organization: Organization) -> Iterator[None]:
    """Lets one process at a time make an organisation's index anew, where several may: with a Qdrant server. Raises
    :class:`search.index.errors.IndexLocked` while another one, that gives signs of life, does."""
    if not settings.ENV.qdrant_url:
        yield
        return
    now, arguments = timezone.now(), {"organization": organization.slug}
    mine = MaintenanceJob.objects.create(
        act=BUILDING, arguments=arguments, status=Status.RUNNING, token=uuid.uuid4(), heartbeat_at=now
    )
    try:
        others = MaintenanceJob.objects.filter(act=BUILDING, arguments=arguments, status=Status.RUNNING)
        alive = others.filter(heartbeat_at__gte=now - SILENT_FOR).exclude(id=mine.id)
        if alive.filter(
            Q(created_at__lt=mine.created_at) | Q(created_at=mine.created_at, id__lt=mine.id)
        ).exists():
            raise IndexLocked(
                f"Another process makes the index of {organization.slug} anew.",
                hint="Wait until it has ended; one that was killed is forgotten after half a minute.",
            )
        with _Work(mine.id, uuid.UUID(str(mine.token))).beating():
            yield
    finally:
        MaintenanceJob.objects.filter(id=mine.id).delete()


def forget(organization: Organization) -> None:
    """Removes the jobs about an organisation and those whose lines name it."""
    named = Q(arguments__organization=organization.slug) | Q(output__contains=organization.slug)
    MaintenanceJob.objects.filter(named, exit_status__isnull=False).delete()


def work_on_next() -> bool:
    """Does the oldest job that nobody works on; False when there is none."""
    silent = timezone.now() - SILENT_FOR
    free = Q(status=Status.QUEUED) | Q(status=Status.RUNNING, heartbeat_at__lt=silent)
    for job in MaintenanceJob.objects.filter(free).exclude(act=BUILDING).order_by("created_at"):
        if (work := _take(job, free)) is not None:
            work.do()
            return True
    return False


def _ask(name: str, arguments: dict[str, Any], write: Write) -> int:
    """Waits for the job and passes its lines on. Where the holder of the index ends, does the work itself."""
    job_id = queue(name, arguments).id
    shown = 0
    while True:
        job = MaintenanceJob.objects.get(id=job_id)
        lines = job.output.splitlines()
        for line in lines[shown:]:
            write(line)
        shown = max(shown, len(lines))
        if job.exit_status is not None:
            return job.exit_status
        try:
            claim()
        except IndexLocked:
            time.sleep(LOOK_SECONDS)
            continue
        try:
            # Nobody else can be at work: who holds the index alone may do it.
            work = _take(job, Q(exit_status__isnull=True))
            if work is not None:
                return work.do(write)
        finally:
            close_all()


def _take(job: MaintenanceJob, condition: Q) -> _Work | None:
    """The job for this thread, unless another was faster."""
    token = uuid.uuid4()
    taken = MaintenanceJob.objects.filter(condition, id=job.id).update(
        status=Status.RUNNING, token=token, heartbeat_at=timezone.now(), attempts=F("attempts") + 1, output=""
    )
    return _Work(job.id, token) if taken else None


@dataclass(slots=True)
class _Work:
    """A job in this thread's hands."""

    job_id: uuid.UUID
    token: uuid.UUID
    lines: list[str] = field(default_factory=list)
    _ended: threading.Event = field(default_factory=threading.Event)

    def do(self, write: Write | None = None) -> int:
        """The exit status of the act. Every outcome becomes the job's state."""
        job = MaintenanceJob.objects.get(id=self.job_id)

        def say(line: str) -> None:
            self.lines.append(line)
            if not self._save(output="\n".join(self.lines)):
                raise MaintenanceLost(str(self.job_id))
            if write is not None:
                write(line)

        try:
            with self.beating():
                exit_status = self._act(job, say)
        except MaintenanceLost:
            logger.info("maintenance job %s ends elsewhere", self.job_id)
            return 1
        self._save(
            status=Status.FAILED if exit_status else Status.DONE,
            exit_status=exit_status,
            output="\n".join(self.lines),
        )
        return exit_status

    def _act(self, job: MaintenanceJob, say: Write) -> int:
        if job.attempts > MOST_ATTEMPTS:
            self.lines.append(f"Interrupted {MOST_ATTEMPTS} times: the product's log says more.")
            return 1
        if job.act not in _acts:
            self.lines.append(f"This version of the product knows no {job.act!r}.")
            return 1
        try:
            return _acts[job.act](job.arguments, say)
        except IndexClosed as closed:  # the product stops: the next one takes over
            raise MaintenanceLost(str(self.job_id)) from closed
        except IndexFailure as failure:
            self.lines.append(f"{failure} {failure.hint}")
        except MaintenanceLost:
            raise
        except Exception as error:
            logger.exception("maintenance job %s failed", self.job_id)
            self.lines.append(f"Failed: {error!r}. The product's log says more.")
        return 1

    @contextmanager
    def beating(self) -> Iterator[None]:
        """Gives signs of life meanwhile."""
        beat = threading.Thread(target=self._beat, name="maintenance-heartbeat", daemon=True)
        beat.start()
        try:
            yield
        finally:
            self._ended.set()
            beat.join()

    def _beat(self) -> None:
        try:
            while not self._ended.wait(BEAT_SECONDS):
                self._save(heartbeat_at=timezone.now())
        finally:
            connections.close_all()

    def _save(self, **values: Any) -> bool:
        """False when the job is no longer ours."""
        return bool(MaintenanceJob.objects.filter(id=self.job_id, token=self.token).update(**values))


class MaintenanceThread:
    """Does the jobs of the serving process, and now and then looks which indexes should be made anew."""

    def __init__(self, look_after: Callable[[], object]) -> None:
        self._look_after = look_after
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="maintenance", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout: float = 5.0) -> None:
        """Ends after the job in hand; one that takes longer is taken over by the next product."""
        self._stop.set()
        self._thread.join(timeout)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._look_after()
                if work_on_next():
                    continue
            except Exception:
                logger.exception("maintenance failed; it is tried again")
            finally:
                connections.close_all()
            self._stop.wait(LOOK_SECONDS)
