"""The right to work on one job for a while: renewed, handed in, failed, put back; taken back when it ran out.

What always holds: every change of a row is one conditional UPDATE, so that two workers can never hold one job, and a
worker whose lease was taken away finds out at its next step. A typed failure is an *attempt* (three, then failed for
good); a lease that ran out is an *interruption* (twenty without getting any further). Whoever holds a lease pays for the
time. No scope and no transaction outlives a function of this module.
"""

from __future__ import annotations

import logging
import uuid
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Case, F, IntegerField, Value, When
from django.utils import timezone

from ingestion import shares
from ingestion.models import IngestionJob
from tenants.models import Organization
from tenants.scope import system_scope, tenant_scope

logger = logging.getLogger(__name__)

MAX_ATTEMPTS = 3
MAX_INTERRUPTIONS = 20
ALONE_AFTER = 2
"""After so many interruptions in a row a job runs while no other does: it may be the one that kills."""
LONGEST_BACK_OFF = timedelta(minutes=5)

FINAL_CODES = frozenset({"unsupported", "encrypted", "malformed", "empty", "bomb", "too_many_pages"})
"""Failures that the same bytes will always have; they are not tried again."""

OUTAGES = frozenset({"index_away", "models_away", "storage_away"})
"""Reasons of an interruption; a job that ends for so many keeps the last as its failure."""

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
    begun_at: datetime
    clock: Callable[[], datetime] = timezone.now
    stopping: Callable[[], bool] = field(default=lambda: False)
    priority: int = IngestionJob._meta.get_field("priority").default
    interrupted: bool = False
    """Whether earlier work on this job was cut off; such a job shares its steps with no other."""
    sealed_password: str = ""
    """The one under which the file is read: another may have come since."""

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
                stage_since=Case(When(stage=stage, then=F("stage_since")), default=now),
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

    def let_go(self, *, code: str = "", message: str = "", remedy: str = "") -> None:
        """Ends the lease now, as if this worker had been killed: an interruption, with its reason where one is given.
        Quiet when the job is gone."""
        why = {"error_code": code[:40], "error_message": message[:500], "error_remedy": remedy[:500]}
        with tenant_scope(self.organization):
            IngestionJob.objects.filter(
                id=self.job_id, lease_token=self.token, status=Status.PROCESSING
            ).update(lease_expires_at=self.clock(), **(why if code else {}))

    def fail(self, *, code: str, message: str, remedy: str) -> None:
        """Counts an attempt: queued again with back-off, or failed for good. A protected file for which another password
        came while it was read is queued again with that one, and nothing is counted. Quiet when the job is gone."""
        with tenant_scope(self.organization), transaction.atomic():
            # Locked, so that a password comes before this or finds a failed job, and is not wiped unread.
            ours = IngestionJob.objects.select_for_update(no_key=True)
            job = ours.filter(id=self.job_id, lease_token=self.token).first()
            if job is not None:
                self._fail(job, code=code, message=message, remedy=remedy)

    def _fail(self, job: IngestionJob, *, code: str, message: str, remedy: str) -> None:
        if code == "encrypted" and job.sealed_password not in ("", self.sealed_password):
            self.put_back()
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

    def _end(self, *, status: str, **changes: object) -> None:
        now = self.clock()
        ended: dict[str, object] = {"status": status}
        if status != Status.QUEUED:
            ended |= {"ended_at": now, "sealed_password": ""}
        with tenant_scope(self.organization):
            changed = IngestionJob.objects.filter(
                id=self.job_id, lease_token=self.token, status=Status.PROCESSING
            ).update(lease_token=None, lease_expires_at=None, updated_at=now, **ended, **changes)
            if changed:
                shares.charge({self.organization.pk: (now - self.begun_at).total_seconds()})
        if not changed:
            raise LeaseLost(str(self.job_id))


def renew_all(
    leases: Sequence[Lease],
    *,
    stage: str,
    totals: Mapping[uuid.UUID, int] | None = None,
    seconds: float | None = None,
) -> list[Lease]:
    """:meth:`Lease.renew` for jobs of one organisation at once, none of which is told to be done in part: those that are
    still ours. ``totals``, by job. Raises :class:`Stopping`."""
    if not leases:
        return []
    first = leases[0]
    if first.stopping():
        raise Stopping
    now = first.clock()
    point = _RANK[stage] * _POINTS_PER_STAGE
    amounts = [When(id=job_id, then=Value(total)) for job_id, total in (totals or {}).items()]
    with tenant_scope(first.organization), transaction.atomic():
        ours = IngestionJob.objects.filter(
            id__in=[lease.job_id for lease in leases],
            lease_token__in={lease.token for lease in leases},
            status=Status.PROCESSING,
        )
        list(ours.select_for_update(no_key=True).order_by("id").values_list("id"))  # as sweeps lock them
        ours.update(
            stage_since=Case(When(stage=stage, then=F("stage_since")), default=now),
            stage=stage,
            done=0,
            total=Case(*amounts, default=Value(0), output_field=IntegerField()) if amounts else 0,
            lease_expires_at=now + timedelta(seconds=seconds or settings.ENV.lease_seconds),
            updated_at=now,
        )
        ours.filter(furthest__lt=point).update(furthest=point, interruptions=0)
        held = set(ours.values_list("id", "lease_token"))
    return [lease for lease in leases if (lease.job_id, lease.token) in held]


def interrupt_expired(*, clock: Callable[[], datetime] = timezone.now, sole_worker: bool = False) -> int:
    """Takes every job back whose lease ran out; returns how many.

    ``sole_worker`` says that the caller is the only worker there can be and has just started: then no
    lease is alive, whatever its time, and the jobs are due at once.
    """
    now = clock()
    taken = 0
    worked: dict[tuple[int, uuid.UUID | None], float] = defaultdict(float)
    with system_scope("take back ingestion jobs whose lease ran out"):
        dead = IngestionJob.objects.filter(status=Status.PROCESSING)
        if not sole_worker:
            dead = dead.filter(lease_expires_at__lt=now)
        for job in sorted(dead, key=lambda each: each.id):
            interruptions = job.interruptions + 1
            given_up = interruptions >= MAX_INTERRUPTIONS
            changes: dict[str, object] = {
                "status": Status.QUEUED,
                "not_before": None
                if sole_worker and interruptions < ALONE_AFTER
                else now + _back_off(interruptions),
            }
            if given_up:
                changes = {"status": Status.FAILED, "ended_at": now, "sealed_password": ""}
                if job.error_code not in OUTAGES:
                    changes |= {
                        "error_code": "interrupted",
                        "error_message": f"The work on this file was cut off {interruptions} times.",
                        "error_remedy": "Try again; this machine may be too small for the file.",
                    }
            won = IngestionJob.objects.filter(
                id=job.id, status=Status.PROCESSING, lease_token=job.lease_token
            ).update(
                interruptions=interruptions,
                lease_token=None,
                lease_expires_at=None,
                updated_at=now,
                **changes,
            )
            taken += won
            if won and job.started_at and job.lease_expires_at:
                worker = (
                    job.organization_id,
                    job.lease_token,
                )  # one worker's at once, where they have one token
                seconds = (min(now, job.lease_expires_at) - job.started_at).total_seconds()
                worked[worker] = max(worked[worker], seconds)
        owed: dict[int, float] = defaultdict(float)
        for (organization_id, _), seconds in worked.items():
            owed[organization_id] += seconds
        shares.charge(owed)
    return taken


def _back_off(times: int) -> timedelta:
    return min(timedelta(seconds=2**times), LONGEST_BACK_OFF)
