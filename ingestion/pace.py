"""How fast files are read, and when they will be done: of one job, and of an organisation's queue.

What always holds: nothing is guessed. A rate is what was measured since the queue was last empty, at most for
:data:`WINDOW`; before there is a measure it is None, and so is every estimate that needs it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from django.db.models import Min
from django.utils import timezone

from ingestion.models import IngestionJob
from tenants.models import Organization
from tenants.scope import tenant_scope

WINDOW = timedelta(minutes=10)
FEWEST_FILES = 2
"""Fewer finished files are no measure of a queue."""
FEWEST_SECONDS = 1.0
FARTHEST_PLACE = 1000
"""Whoever stands further back in the queue is told no time by himself; the queue's own time is told."""

Status = IngestionJob.Status


@dataclass(frozen=True, slots=True)
class Queue:
    """What an organisation waits for. Times in seconds; None: unknown."""

    waiting: int
    processing: int
    files_per_minute: float | None
    eta_seconds: int | None
    oldest_waiting_seconds: int | None

    @property
    def unfinished(self) -> int:
        return self.waiting + self.processing

    @property
    def time_left(self) -> str:
        """In words; empty while it is unknown."""
        return "" if self.eta_seconds is None else f"{duration(self.eta_seconds)} left"


@dataclass(frozen=True, slots=True)
class Outlook:
    """When jobs will be done, as of ``now``. ``places`` count the jobs before each queued one."""

    now: datetime
    files_per_minute: float | None = None
    places: Mapping[UUID, int] = field(default_factory=dict)

    def rate(self, job: IngestionJob) -> float | None:
        """Pages or passages of the job's stage a second."""
        if job.status != Status.PROCESSING or not job.done or job.stage_since is None:
            return None
        seconds = (self.now - job.stage_since).total_seconds()
        return round(job.done / seconds, 2) if seconds >= FEWEST_SECONDS else None

    def eta_seconds(self, job: IngestionJob) -> int | None:
        """Until the job's stage ends, which for embedding is nearly its end; of a queued one, until it is ready."""
        rate = self.rate(job)
        if rate and job.total and job.stage == IngestionJob.Stage.EMBEDDING:
            return round(max(0, job.total - job.done) / rate)
        place = self.places.get(job.id)
        if place is None or not self.files_per_minute:
            return None
        return round(60 * (place + 1) / self.files_per_minute)


def outlook(jobs: Sequence[IngestionJob], *, clock: Callable[[], datetime] = timezone.now) -> Outlook:
    """The outlook of jobs of one organisation, whose scope is open; looks at the queue only where one is queued."""
    now = clock()
    if all(job.status != Status.QUEUED for job in jobs):
        return Outlook(now)
    waiting = IngestionJob.objects.filter(status=Status.QUEUED).order_by("-priority", "created_at", "id")
    ids = waiting.values_list("id", flat=True)[:FARTHEST_PLACE]
    return Outlook(now, _files_per_minute(now), {id_: place for place, id_ in enumerate(ids)})


def queue_of(organization: Organization, *, clock: Callable[[], datetime] = timezone.now) -> Queue:
    """The queue of an organisation."""
    now = clock()
    with tenant_scope(organization):
        waiting = IngestionJob.objects.filter(status=Status.QUEUED)
        count = waiting.count()
        processing = IngestionJob.objects.filter(status=Status.PROCESSING).count()
        oldest = waiting.aggregate(oldest=Min("created_at"))["oldest"]
        rate = _files_per_minute(now) if count or processing else None
    return Queue(
        waiting=count,
        processing=processing,
        files_per_minute=None if rate is None else round(rate, 1),
        eta_seconds=round(60 * (count + processing) / rate) if rate else None,
        oldest_waiting_seconds=None if oldest is None else max(0, round((now - oldest).total_seconds())),
    )


def duration(seconds: float) -> str:
    """A time in the words of a person, rounded."""
    if seconds < 60:
        return f"about {max(1, round(seconds))} s"
    if seconds < 5400:
        return f"about {round(seconds / 60)} min"
    return f"about {round(seconds / 3600)} h"


def _files_per_minute(now: datetime) -> float | None:
    """Of the files that ended since the queue was last empty, as far as the oldest unfinished job tells."""
    unfinished = IngestionJob.objects.filter(status__in=[Status.QUEUED, Status.PROCESSING])
    oldest = unfinished.aggregate(oldest=Min("created_at"))["oldest"]
    if oldest is None:
        return None
    since = max(oldest, now - WINDOW)
    ended = IngestionJob.objects.filter(
        status__in=[Status.READY, Status.FAILED], ended_at__gte=since, ended_at__lte=now
    ).count()
    seconds = (now - since).total_seconds()
    return 60 * ended / seconds if ended >= FEWEST_FILES and seconds >= FEWEST_SECONDS else None
