"""Which job is next, and who gets it.

Classes first: a single upload goes before a bulk import, but of :data:`SINGLES_IN_A_ROW` + 1 jobs begun one after the
other at least one is a bulk one while any is due. In a class the organisation with the fewest running jobs goes first,
then the one that was worked for least (:mod:`ingestion.shares`), and of one organisation the oldest job. So each
organisation puts forward one job, its head, and only heads are compared: however long its queue is, finding the head
is one step down an index.

What always holds: nothing is begun for an organisation that is locked; a job that was interrupted again and again runs while no other does, and while it runs nobody gets
another one; and when it is next in turn but others have kept running for :data:`ALONE_PATIENCE`, nobody gets another
one until it had its turn.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import Case, FloatField, IntegerField, OuterRef, Q, Subquery, Value, When
from django.db.models.functions import Coalesce, Greatest
from django.utils import timezone

from ingestion import shares
from ingestion.leases import ALONE_AFTER, Lease, Status, interrupt_expired
from ingestion.models import IngestionJob, Priority, QueueShare
from tenants.models import Organization
from tenants.scope import system_scope, tenant_scope

SINGLES_IN_A_ROW = 4
ALONE_PATIENCE = timedelta(minutes=1)
HEADS = 8
"""How many organisations' heads are looked at at once: enough that workers who ask together part."""
TRIES = 50
"""Each try that ends without a job is one that another worker got."""


def claim(
    *, clock: Callable[[], datetime] = timezone.now, stopping: Callable[[], bool] = lambda: False
) -> Lease | None:
    """The next due job with a lease on it, or None when there is none that may run now."""
    now = clock()
    interrupt_expired(clock=clock)
    with system_scope("claim an ingestion job"):
        for _ in range(TRIES):
            heads = _next(now)
            if not heads:
                return None
            for job in heads:
                lease = _take(job, now, clock, stopping)
                if lease is not None:
                    return lease
    return None


def claim_more(first: Lease, *, most: int, characters: int) -> list[Lease]:
    """Up to ``most`` further jobs that :func:`claim` would give next, one after the other, when nobody but the organisation
    of ``first`` has anything to do, and in its class only: their order is plain then. They end before the first whose file,
    a byte taken for a character, goes beyond ``characters`` in all. None that was interrupted is among them: who works on
    many at once must not be ended by the same file again.
    """
    now = first.clock()
    with system_scope("see whether only one organisation has ingestion jobs"):
        if first.interrupted or not _alone_in_the_queue(first, now):
            return []
        virtual_now = shares.present()
    with tenant_scope(first.organization):
        queue = IngestionJob.objects.filter(
            due(now),
            organization=first.organization,
            organization__is_active=True,
            status=Status.QUEUED,
            priority=first.priority,
        ).order_by("created_at", "id")
        chosen: list[uuid.UUID] = []
        for id_, interruptions, size in queue.values_list("id", "interruptions", "version__size")[:most]:
            characters -= size
            if characters < 0 or interruptions:
                break
            chosen.append(id_)
        if not chosen:
            return []
        token = uuid.uuid4()
        IngestionJob.objects.filter(id__in=chosen, status=Status.QUEUED).update(**_begun(token, now))
        won = IngestionJob.objects.filter(id__in=chosen, lease_token=token).order_by("created_at", "id")
        leases = [_lease(job, first.organization, token, now, first.clock, first.stopping) for job in won]
        if leases:
            shares.begin(first.organization.pk, now=virtual_now)
    return leases


def _alone_in_the_queue(first: Lease, now: datetime) -> bool:
    """Whether all that is due is of the organisation and the class of ``first``, and no job must run alone."""
    if IngestionJob.objects.filter(status=Status.PROCESSING, interruptions__gte=ALONE_AFTER).exists():
        return False
    for priority in Priority:
        heads = _heads(priority, now, Counter())
        if any(job.organization_id != first.organization.pk for job in heads):
            return False
        if heads and priority != first.priority:
            return False
    return True


def due(now: datetime) -> Q:
    """Whether a queued job may be begun."""
    return Q(not_before__isnull=True) | Q(not_before__lte=now)


def _next(now: datetime) -> list[IngestionJob]:
    """The jobs that may be begun now, best first: at most one an organisation, :data:`HEADS` in all."""
    running = list(
        IngestionJob.objects.filter(status=Status.PROCESSING).values_list("organization_id", "interruptions")
    )
    if any(interruptions >= ALONE_AFTER for _, interruptions in running):
        return []
    busy = Counter(organization_id for organization_id, _ in running)
    for priority in _classes():
        heads = _heads(priority, now, busy)
        if running and any(_must_run_alone(job) for job in heads):
            if _must_run_alone(heads[0]) and _since(heads[0]) <= now - ALONE_PATIENCE:
                return []
            heads = _heads(priority, now, busy, beside_others=True)
        if heads:
            return heads
    return []


def _classes() -> Sequence[Priority]:
    """Both classes, the one whose turn it is first."""
    begun = IngestionJob.objects.filter(started_at__isnull=False).order_by("-started_at")
    last = list(begun.values_list("priority", flat=True)[:SINGLES_IN_A_ROW])
    bulk_is_next = len(last) == SINGLES_IN_A_ROW and Priority.BULK not in last
    return (Priority.BULK, Priority.SINGLE) if bulk_is_next else (Priority.SINGLE, Priority.BULK)


def _heads(
    priority: Priority, now: datetime, busy: Counter[int], *, beside_others: bool = False
) -> list[IngestionJob]:
    queue = IngestionJob.objects.filter(
        due(now), organization=OuterRef("pk"), status=Status.QUEUED, priority=priority
    )
    if beside_others:
        queue = queue.filter(interruptions__lt=ALONE_AFTER)
    queue = queue.order_by("created_at", "id")
    share = QueueShare.objects.filter(organization=OuterRef("pk")).values("service")
    found = (
        Organization.objects.filter(is_active=True)
        .annotate(head=Subquery(queue.values("id")[:1]))
        .filter(head__isnull=False)
        .annotate(
            since=Subquery(queue.values("created_at")[:1]),
            start=Greatest(
                Coalesce(Subquery(share[:1], output_field=FloatField()), 0.0), Value(shares.present())
            ),
        )
        .order_by(*_fewest(busy), "start", "since", "pk")
    )
    ids = list(found.values_list("head", flat=True)[:HEADS])
    jobs = {job.id: job for job in IngestionJob.objects.filter(id__in=ids).select_related("organization")}
    return [jobs[id_] for id_ in ids if id_ in jobs]


def _fewest(busy: Counter[int]) -> list[Case]:
    """Orders organisations by their running jobs. Where nothing runs there is nothing to order by, and a bare number
    would be a column to PostgreSQL."""
    whens = [When(pk=pk, then=Value(jobs)) for pk, jobs in busy.items()]
    return [Case(*whens, default=Value(0), output_field=IntegerField())] if whens else []


def _must_run_alone(job: IngestionJob) -> bool:
    return job.interruptions >= ALONE_AFTER


def _since(job: IngestionJob) -> datetime:
    return job.not_before or job.created_at


def _take(
    job: IngestionJob, now: datetime, clock: Callable[[], datetime], stopping: Callable[[], bool]
) -> Lease | None:
    """The lease, or None when another worker was faster."""
    token, virtual_now = uuid.uuid4(), shares.present()
    won = IngestionJob.objects.filter(id=job.id, status=Status.QUEUED).update(**_begun(token, now))
    if not won:
        return None
    shares.begin(job.organization_id, now=virtual_now)
    return _lease(job, job.organization, token, now, clock, stopping)


def _begun(token: uuid.UUID, now: datetime) -> dict[str, object]:
    return {
        "status": Status.PROCESSING,
        "lease_token": token,
        "lease_expires_at": now + timedelta(seconds=settings.ENV.lease_seconds),
        "not_before": None,
        "started_at": now,
        "stage_since": now,
        "ended_at": None,
        "updated_at": now,
    }


def _lease(
    job: IngestionJob,
    organization: Organization,
    token: uuid.UUID,
    now: datetime,
    clock: Callable[[], datetime],
    stopping: Callable[[], bool],
) -> Lease:
    return Lease(
        job.id, organization, job.document_id, job.version_id, token, now, clock, stopping,
        priority=job.priority, interrupted=job.interruptions > 0,
    )  # fmt: skip
