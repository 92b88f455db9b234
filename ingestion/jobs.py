"""What is asked of the queue: a job is enqueued, retried, cancelled; who is due; wake somebody.

The public face of the queue. Its parts are :mod:`ingestion.claiming` (which job is next), :mod:`ingestion.leases` (the
right to work on it) and :mod:`ingestion.shares` (whose turn it is).
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from ingestion import passwords, shares
from ingestion.claiming import claim, claim_more, due
from ingestion.leases import (
    ALONE_AFTER,
    MAX_ATTEMPTS,
    MAX_INTERRUPTIONS,
    Lease,
    LeaseLost,
    Stage,
    Status,
    Stopping,
    interrupt_expired,
    renew_all,
)
from ingestion.models import IngestionJob, Priority
from search.models import Document, DocumentVersion
from tenants.models import Organization
from tenants.scope import system_scope, tenant_scope

__all__ = [
    "ALONE_AFTER",
    "DELETED",
    "MAX_ATTEMPTS",
    "MAX_INTERRUPTIONS",
    "Lease",
    "LeaseLost",
    "Priority",
    "Stage",
    "Status",
    "Stopping",
    "cancel",
    "claim",
    "claim_more",
    "deletions_cut_off",
    "due_in",
    "end_for_deletion",
    "enqueue",
    "interrupt_expired",
    "keep_password",
    "messages_waiting",
    "renew_all",
    "retry",
    "wake_workers",
]

logger = logging.getLogger(__name__)

DELETED = "deleted"
"""The code of every job of a document whose deletion has begun."""


def due_in(*, clock: Callable[[], datetime] = timezone.now) -> tuple[int, float | None]:
    """How many jobs are due now, and in how many seconds the next of the others will be (None: none)."""
    now = clock()
    with system_scope("look for ingestion jobs that nobody works on"):
        queued = IngestionJob.objects.filter(status=Status.QUEUED, organization__is_active=True)
        count = queued.filter(due(now)).count()
        later = queued.filter(not_before__gt=now).order_by("not_before").values_list("not_before", flat=True)
        upcoming = later.first()
    return count, None if upcoming is None else (upcoming - now).total_seconds()


def enqueue(
    version: DocumentVersion, *, priority: Priority = Priority.SINGLE, password: str = ""
) -> IngestionJob:
    """Creates the job of a new version. Called inside the transaction that creates the version."""
    job_id = uuid.uuid4()
    return IngestionJob.objects.create(
        id=job_id,
        sealed_password=passwords.sealed(password, job_id=job_id),
        organization_id=version.organization_id,
        document_id=version.document_id,
        version=version,
        priority=priority,
    )


def keep_password(version: DocumentVersion, password: str) -> None:
    """Lets the job of a version that is on its way use this password, when its file is read next. Called in the
    organisation's scope."""
    _keep(IngestionJob.objects.filter(version=version), password)


def _keep(jobs: QuerySet[IngestionJob], password: str) -> None:
    on_its_way = jobs.filter(status__in=[Status.QUEUED, Status.PROCESSING])
    for job_id in on_its_way.values_list("id", flat=True):
        on_its_way.filter(id=job_id).update(sealed_password=passwords.sealed(password, job_id=job_id))


def retry(
    *,
    organization: Organization,
    document: Document,
    priority: Priority = Priority.SINGLE,
    password: str = "",
) -> bool:
    """Queues the newest failed or cancelled job of a document again; False when there is none.

    ``password`` opens a protected file; one that comes while the job is on its way is kept for it.
    """
    with tenant_scope(organization), transaction.atomic():
        newest = IngestionJob.objects.filter(document=document).order_by("-created_at")
        job = newest.select_for_update(no_key=True).first()  # one that just fails is waited for
        if job is None or job.error_code == DELETED:
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
            priority=priority,
            sealed_password=passwords.sealed(password, job_id=job.id),
            ended_at=None,
            error_code="",
            error_message="",
            error_remedy="",
            updated_at=timezone.now(),
        )
        if queued:
            transaction.on_commit(wake_workers)
        elif password:
            _keep(IngestionJob.objects.filter(id=job.id), password)
    return bool(queued)


def cancel(*, organization: Organization, document: Document) -> int:
    """Cancels what is queued or being worked on; a worker stops at its next step. Returns how many."""
    now = timezone.now()
    with tenant_scope(organization):
        wanted = IngestionJob.objects.filter(document=document, status__in=[Status.QUEUED, Status.PROCESSING])
        begun = list(wanted.filter(status=Status.PROCESSING).values_list("started_at", flat=True))
        cancelled = wanted.update(
            status=Status.CANCELLED,
            error_code="cancelled",
            error_message="The work on this file was cancelled.",
            error_remedy="Retry it, or delete the document.",
            lease_token=None,
            lease_expires_at=None,
            ended_at=now,
            sealed_password="",
            updated_at=now,
        )
        if cancelled and begun:
            seconds = sum((now - each).total_seconds() for each in begun if each is not None)
            shares.charge({organization.pk: seconds})
    return cancelled


def end_for_deletion(*, organization: Organization, document: Document) -> None:
    """Marks every job of a document, ended or not, as that of one that is being deleted; a worker stops at its
    next step. Called inside the transaction that hides the document."""
    cancel(organization=organization, document=document)
    now = timezone.now()
    with tenant_scope(organization):
        IngestionJob.objects.filter(document=document).update(
            status=Status.CANCELLED,
            error_code=DELETED,
            error_message="This document is being deleted.",
            error_remedy="Nothing needs to be done.",
            sealed_password="",
            ended_at=now,
            updated_at=now,
        )


def deletions_cut_off(
    *, clock: Callable[[], datetime] = timezone.now
) -> list[tuple[Organization, uuid.UUID]]:
    """The documents whose deletion began longer ago than a lease lasts and has not ended."""
    before = clock() - timedelta(seconds=settings.ENV.lease_seconds)
    with system_scope("find deletions that were cut off"):
        marked = IngestionJob.objects.filter(
            status=Status.CANCELLED, error_code=DELETED, ended_at__lt=before
        ).select_related("organization")
        found = {job.document_id: job.organization for job in marked}
    return [(organization, document_id) for document_id, organization in found.items()]


def messages_waiting() -> int:
    """How many messages lie with the broker, to be taken; 0 where it cannot tell."""
    from celery import current_app

    try:
        with current_app.connection_for_write() as connection:
            connection.ensure_connection(max_retries=1, timeout=2)
            channel: Any = connection.default_channel
            queue = channel.queue_declare(current_app.conf.task_default_queue, passive=True)
            return int(queue.message_count)
    except Exception as error:  # each transport has its own for a queue that is not there yet
        logger.info("the broker does not say how many messages wait (%s)", error)
        return 0


def wake_workers(count: int = 1) -> None:
    """Sends ``count`` wake-ups. A broker that cannot be reached is logged only: the sweeper asks again."""
    from kombu.exceptions import KombuError

    from ingestion.tasks import wake_up

    try:
        for _ in range(count):
            wake_up.apply_async(retry=False)
    except (KombuError, OSError) as error:
        logger.warning("no wake-up could be sent (%s); the sweeper will try again", error)
