"""The life of an ingestion job: claimed with a lease, renewed, handed in, failed, interrupted, retried.

What always holds: every change of a row is one conditional UPDATE, so that two workers can never hold one
job, and a worker whose lease was taken away finds out at its next step. A typed failure is an *attempt*
(three, then failed for good); a lease that ran out is an *interruption* (twenty without getting any
further). No scope and no transaction outlives a function of this module.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Count, F, IntegerField, OuterRef, Q, Subquery
from django.db.models.functions import Coalesce
from django.utils import timezone

from ingestion.models import IngestionJob
from search.models import Document, DocumentVersion
from tenants.models import Organization
from tenants.scope import system_scope, tenant_scope

logger = logging.getLogger(__name__)

MAX_ATTEMPTS = 3
MAX_INTERRUPTIONS = 20
ALONE_AFTER = 2
"""After so many interruptions in a row a job runs while no other does: it may be the one that kills."""
LONGEST_BACK_OFF = timedelta(minutes=5)
CANDIDATES = 8

FINAL_CODES = frozenset({"unsupported", "encrypted", "malformed", "empty", "bomb", "too_many_pages"})
"""Failures that the same bytes will always have; they are not tried again."""

Status, Stage = IngestionJob.Status, IngestionJob.Stage
_RANK = {stage: rank for rank, stage in enumerate(Stage.values)}
_POINTS_PER_STAGE = 10_000_000


class LeaseLost(Exception):
    """The job is no longer this worker's: it was cancelled, deleted, or taken over."""


class Stopping(Exception):
    """The worker was told to stop; the job goes back to the queue unharmed."""


@dataclass(slots=True)
class Lease:
    """The right to work on one job until it expires. ``stopping`` ends the work at its next step."""

    job_id: uuid.UUID
    organization: Organization
    document_id: uuid.UUID
    version_id: uuid.UUID
    token: uuid.UUID
    clock: Callable[[], datetime] = timezone.now
    stopping: Callable[[], bool] = field(default=lambda: False)

    def renew(self, *, stage: str, done: int = 0, total: int = 0, seconds: float | None = None) -> None:
        """Records progress and holds the job for ``seconds`` more (default: the setting).

        Raises :class:`LeaseLost` when it is not ours any more, :class:`Stopping` when the worker stops.
        """
        if self.stopping():
            raise Stopping
        now = self.clock()
        point = _RANK[stage] * _POINTS_PER_STAGE + done
        with tenant_scope(self.organization):
            ours = IngestionJob.objects.filter(
                id=self.job_id, lease_token=self.token, status=Status.PROCESSING
            )
            changed = ours.update(
                stage=stage,
                done=done,
                total=total,
                lease_expires_at=now + timedelta(seconds=seconds or settings.ENV.lease_seconds),
                updated_at=now,
            )
            if changed:
                ours.filter(furthest__lt=point).update(furthest=point, interruptions=0)
        if not changed:
            raise LeaseLost(str(self.job_id))

    def hand_in(self) -> None:
        """Marks the job ready. Called inside the transaction that publishes; raises :class:`LeaseLost`."""
        self._end(
            status=Status.READY,
            stage=Stage.DONE,
            done=F("total"),
            error_code="",
            error_message="",
            error_remedy="",
        )

    def supersede(self) -> None:
        """Ends a job whose document has meanwhile published a newer version. Raises :class:`LeaseLost`."""
        self._end(status=Status.CANCELLED, error_code="superseded")

    def put_back(self, *, seconds: float = 0) -> None:
        """Returns the job to the queue, due in ``seconds``, without counting anything against it."""
        self._end(
            status=Status.QUEUED,
            stage=Stage.QUEUED,
            done=0,
            total=0,
            not_before=self.clock() + timedelta(seconds=seconds),
        )

    def fail(self, *, code: str, message: str, remedy: str) -> None:
        """Counts an attempt: queued again with back-off, or failed for good. Quiet when the job is gone."""
        with tenant_scope(self.organization):
            job = IngestionJob.objects.filter(id=self.job_id, lease_token=self.token).first()
        if job is None:
            return
        attempts = job.attempts + 1
        final = code in FINAL_CODES or attempts >= MAX_ATTEMPTS
        try:
            self._end(
                status=Status.FAILED if final else Status.QUEUED,
                stage=job.stage if final else Stage.QUEUED,
                attempts=attempts,
                not_before=None if final else self.clock() + _back_off(attempts),
                error_code=code[:40],
                error_message=message[:500],
                error_remedy=remedy[:500],
            )
        except LeaseLost:
            logger.info("job %s ended elsewhere while its failure was recorded", self.job_id)

    def _end(self, **changes: object) -> None:
        with tenant_scope(self.organization):
            changed = IngestionJob.objects.filter(
                id=self.job_id, lease_token=self.token, status=Status.PROCESSING
            ).update(lease_token=None, lease_expires_at=None, updated_at=self.clock(), **changes)
        if not changed:
            raise LeaseLost(str(self.job_id))


def claim(
    *, clock: Callable[[], datetime] = timezone.now, stopping: Callable[[], bool] = lambda: False
) -> Lease | None:
    """The next due job, or None. Higher priority first, then the organisation with the fewest running
    jobs, then age. A job that was interrupted again and again is only given out while nothing else runs."""
    now = clock()
    interrupt_expired(clock=clock)
    with system_scope("claim an ingestion job"):
        running = IngestionJob.objects.filter(status=Status.PROCESSING)
        in_work = running.aggregate(
            jobs=Count("id"), alone=Count("id", filter=Q(interruptions__gte=ALONE_AFTER))
        )
        if in_work["alone"]:
            return None
        per_organization = (
            running.filter(organization=OuterRef("organization"))
            .order_by()
            .values("organization")
            .annotate(n=Count("id"))
            .values("n")
        )
        due = IngestionJob.objects.filter(status=Status.QUEUED).filter(_due(now))
        if in_work["jobs"]:
            due = due.filter(interruptions__lt=ALONE_AFTER)
        due = due.annotate(
            busy=Coalesce(Subquery(per_organization, output_field=IntegerField()), 0)
        ).order_by("-priority", "busy", "created_at", "id")
        for job in due.select_related("organization")[:CANDIDATES]:
            token = uuid.uuid4()
            won = IngestionJob.objects.filter(id=job.id, status=Status.QUEUED).update(
                status=Status.PROCESSING,
                lease_token=token,
                lease_expires_at=now + timedelta(seconds=settings.ENV.lease_seconds),
                not_before=None,
                updated_at=now,
            )
            if won:
                return Lease(
                    job.id, job.organization, job.document_id, job.version_id, token, clock, stopping
                )
    return None


def interrupt_expired(*, clock: Callable[[], datetime] = timezone.now, sole_worker: bool = False) -> int:
    """Takes every job back whose lease ran out; returns how many.

    ``sole_worker`` says that the caller is the only worker there can be and has just started: then no
    lease is alive, whatever its time, and the jobs are due at once.
    """
    now = clock()
    taken = 0
    with system_scope("take back ingestion jobs whose lease ran out"):
        dead = IngestionJob.objects.filter(status=Status.PROCESSING)
        if not sole_worker:
            dead = dead.filter(lease_expires_at__lt=now)
        for job in dead:
            interruptions = job.interruptions + 1
            given_up = interruptions >= MAX_INTERRUPTIONS
            changes: dict[str, object] = {
                "status": Status.QUEUED,
                "not_before": None
                if sole_worker and interruptions < ALONE_AFTER
                else now + _back_off(interruptions),
            }
            if given_up:
                changes = {
                    "status": Status.FAILED,
                    "error_code": "interrupted",
                    "error_message": f"The work on this file was cut off {interruptions} times.",
                    "error_remedy": "Try again; this machine may be too small for the file.",
                }
            taken += IngestionJob.objects.filter(
                id=job.id, status=Status.PROCESSING, lease_token=job.lease_token
            ).update(
                interruptions=interruptions,
                lease_token=None,
                lease_expires_at=None,
                updated_at=now,
                **changes,
            )
    return taken


def due_in(*, clock: Callable[[], datetime] = timezone.now) -> tuple[int, float | None]:
    """How many jobs are due now, and in how many seconds the next of the others will be (None: none)."""
    now = clock()
    with system_scope("look for ingestion jobs that nobody works on"):
        queued = IngestionJob.objects.filter(status=Status.QUEUED)
        due = queued.filter(_due(now)).count()
        later = queued.filter(not_before__gt=now).order_by("not_before").values_list("not_before", flat=True)
        upcoming = later.first()
    return due, None if upcoming is None else (upcoming - now).total_seconds()


def enqueue(version: DocumentVersion, *, priority: int = 0) -> IngestionJob:
    """Creates the job of a new version. Called inside the transaction that creates the version."""
    return IngestionJob.objects.create(
        organization_id=version.organization_id,
        document_id=version.document_id,
        version=version,
        priority=priority,
    )


def retry(*, organization: Organization, document: Document) -> bool:
    """Queues the newest failed or cancelled job of a document again; False when there is none."""
    with tenant_scope(organization), transaction.atomic():
        job = IngestionJob.objects.filter(document=document).order_by("-created_at").first()
        if job is None:
            return False
        queued = IngestionJob.objects.filter(id=job.id, status__in=[Status.FAILED, Status.CANCELLED]).update(
            status=Status.QUEUED,
            stage=Stage.QUEUED,
            done=0,
            total=0,
            attempts=0,
            interruptions=0,
            furthest=0,
            not_before=None,
            error_code="",
            error_message="",
            error_remedy="",
            updated_at=timezone.now(),
        )
        if queued:
            transaction.on_commit(wake_workers)
    return bool(queued)


def cancel(*, organization: Organization, document: Document) -> int:
    """Cancels what is queued or being worked on; a worker stops at its next step. Returns how many."""
    with tenant_scope(organization):
        return IngestionJob.objects.filter(
            document=document, status__in=[Status.QUEUED, Status.PROCESSING]
        ).update(
            status=Status.CANCELLED,
            error_code="cancelled",
            error_message="The work on this file was cancelled.",
            error_remedy="Retry it, or delete the document.",
            lease_token=None,
            lease_expires_at=None,
            updated_at=timezone.now(),
        )


def wake_workers(count: int = 1) -> None:
    """Sends ``count`` wake-ups. A broker that cannot be reached is logged only: the sweeper asks again."""
    from kombu.exceptions import KombuError

    from ingestion.tasks import wake_up

    try:
        for _ in range(count):
            wake_up.apply_async(retry=False)
    except (KombuError, OSError) as error:
        logger.warning("no wake-up could be sent (%s); the sweeper will try again", error)


def _due(now: datetime) -> Q:
    return Q(not_before__isnull=True) | Q(not_before__lte=now)


def _back_off(times: int) -> timedelta:
    return min(timedelta(seconds=2**times), LONGEST_BACK_OFF)
