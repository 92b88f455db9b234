"""The queues of all organisations as the operator sees them: who waits, what runs, what fails, how fast it goes.

What always holds: numbers, codes and names of organisations, never a document's name or text.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import Count, Max, Min, Q
from django.utils import timezone

from ingestion import jobs
from ingestion.models import IndexCount, IngestionJob, Priority
from tenants.models import Organization
from tenants.scope import system_scope

DAY, HOUR, TEN_MINUTES = timedelta(days=1), timedelta(hours=1), timedelta(minutes=10)
MOST_RETRIED = 1000
Status = IngestionJob.Status


@dataclass(frozen=True, slots=True)
class Waiting:
    """One organisation's queue; times in seconds. ``points`` and ``rows`` of its index are None where never counted."""

    organization_id: int
    name: str
    single: int
    bulk: int
    running: int
    oldest_s: float
    points: int | None
    rows: int | None


@dataclass(frozen=True, slots=True)
class Running:
    """One job in work: since when, and how long its worker has been silent, in seconds."""

    organization: str
    stage: str
    done: int
    total: int
    since_s: float
    silent_s: float
    interruptions: int


@dataclass(frozen=True, slots=True)
class Overview:
    """Everything at one moment. ``ready`` and ``failed`` count jobs that ended in the last ten minutes, hour and day."""

    queues: tuple[Waiting, ...]
    running: tuple[Running, ...]
    failures: tuple[tuple[str, int], ...]
    ready: tuple[int, int, int]
    failed: tuple[int, int, int]
    delayed: int
    indexes: int
    indexes_differ: int
    counted_at: datetime | None

    @property
    def waiting(self) -> int:
        return sum(each.single + each.bulk for each in self.queues)

    @property
    def oldest_s(self) -> float:
        return max((each.oldest_s for each in self.queues), default=0.0)


def overview(*, clock: Callable[[], datetime] = timezone.now) -> Overview:
    """Of all organisations that wait, run or have an index that differs; the longest queues first."""
    now = clock()
    with system_scope("the operator looks at the queues"):
        queues = _queues(now)
        counts = IndexCount.objects.aggregate(
            all=Count("id", filter=Q(rows__gt=0)),
            differ=Count("id", filter=IndexCount.DIFFERS),
            at=Max("counted_at"),
        )
        failures = (
            IngestionJob.objects.filter(status=Status.FAILED, ended_at__gte=now - DAY)
            .values_list("error_code")
            .annotate(n=Count("id"))
            .order_by("-n", "error_code")
        )
        return Overview(
            queues=queues,
            running=_running(now),
            failures=tuple((code, n) for code, n in failures),
            ready=_ended(Status.READY, now),
            failed=_ended(Status.FAILED, now),
            delayed=IngestionJob.objects.filter(status=Status.QUEUED, not_before__gt=now).count(),
            indexes=counts["all"],
            indexes_differ=counts["differ"],
            counted_at=counts["at"],
        )


def retry_failed(*, code: str, clock: Callable[[], datetime] = timezone.now) -> int:
    """Queues the jobs again that failed with ``code`` in the last day, in bulk, at most :data:`MOST_RETRIED`; returns
    how many."""
    with system_scope("the operator tries failed jobs again"):
        failed = IngestionJob.objects.filter(
            status=Status.FAILED, error_code=code, ended_at__gte=clock() - DAY
        )
        found = [
            (job.organization, job.document)
            for job in failed.select_related("organization", "document").order_by("ended_at")[:MOST_RETRIED]
        ]
    return sum(
        jobs.retry(organization=organization, document=document, priority=Priority.BULK)
        for organization, document in found
    )


def _queues(now: datetime) -> tuple[Waiting, ...]:
    found = (
        IngestionJob.objects.filter(status__in=[Status.QUEUED, Status.PROCESSING])
        .order_by()
        .values("organization_id", "status", "priority")
        .annotate(n=Count("id"), oldest=Min("created_at"))
    )
    jobs_of: dict[int, dict[str, int]] = defaultdict(lambda: {"single": 0, "bulk": 0, "running": 0})
    oldest: dict[int, datetime] = {}
    for row in found:
        pk = row["organization_id"]
        if row["status"] == Status.PROCESSING:
            jobs_of[pk]["running"] += row["n"]
            continue
        jobs_of[pk]["bulk" if row["priority"] == Priority.BULK else "single"] += row["n"]
        oldest[pk] = min(oldest.get(pk, row["oldest"]), row["oldest"])
    counts = {
        each.organization_id: each
        for each in IndexCount.objects.filter(IndexCount.DIFFERS | Q(organization__in=list(jobs_of)))
    }
    shown = jobs_of.keys() | {pk for pk, count in counts.items() if count.points != count.rows}
    names = dict(Organization.objects.filter(pk__in=shown).values_list("pk", "name"))
    rows = [
        Waiting(
            organization_id=pk,
            name=names.get(pk, ""),
            **jobs_of[pk],
            oldest_s=max(0.0, (now - oldest[pk]).total_seconds()) if pk in oldest else 0.0,
            points=counts[pk].points if pk in counts else None,
            rows=counts[pk].rows if pk in counts else None,
        )
        for pk in shown
    ]
    return tuple(sorted(rows, key=lambda row: (-row.single - row.bulk, -row.running, row.name)))


def _running(now: datetime) -> tuple[Running, ...]:
    held = timedelta(seconds=settings.ENV.lease_seconds)
    found = IngestionJob.objects.filter(status=Status.PROCESSING).select_related("organization")
    return tuple(
        Running(
            organization=job.organization.name,
            stage=job.stage,
            done=job.done,
            total=job.total,
            since_s=_age(now, job.started_at),
            silent_s=_age(now, job.updated_at if job.lease_expires_at else None),
            interruptions=job.interruptions,
        )
        for job in sorted(found, key=lambda job: job.started_at or now - held)
    )


def _ended(status: str, now: datetime) -> tuple[int, int, int]:
    ended = IngestionJob.objects.filter(status=status, ended_at__gte=now - DAY)
    counted = ended.aggregate(
        last=Count("id", filter=Q(ended_at__gte=now - TEN_MINUTES)),
        hour=Count("id", filter=Q(ended_at__gte=now - HOUR)),
        day=Count("id"),
    )
    return counted["last"], counted["hour"], counted["day"]


def _age(now: datetime, since: datetime | None) -> float:
    return max(0.0, (now - since).total_seconds()) if since else 0.0
