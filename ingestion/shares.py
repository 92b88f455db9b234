"""Whose turn it is: each organisation's part of the workers' time, by start-time fair queueing.

An organisation pays for what is worked for it, in seconds. The one that paid least goes next, so that a queue of ten
thousand files delays nobody else by more than the file in hand. What always holds: whoever comes back after a rest
starts at the present virtual time (the start of the job begun last), neither with credit for the rest nor with a debt
that others have caught up with.

Goyal, Vin, Cheng: Start-time Fair Queuing, SIGCOMM 1996.
"""

from __future__ import annotations

from collections.abc import Mapping

from django.db.models import F, Max, Value
from django.db.models.functions import Greatest

from ingestion.models import QueueShare

LEAST_SERVICE_S = 0.1
"""What a job costs at least: taking one up costs something too."""


def present() -> float:
    """The virtual time: the start of the job that was begun last. Called in a system scope."""
    return float(QueueShare.objects.aggregate(now=Max("begun"))["now"] or 0.0)


def begin(organization_id: int, *, now: float) -> None:
    """Notes that a job of the organisation begins at the virtual time ``now``, or later where it paid for more."""
    share, _ = QueueShare.objects.get_or_create(organization_id=organization_id)
    start = Greatest(F("service"), Value(now))  # as it is by then: another worker may have charged meanwhile
    QueueShare.objects.filter(pk=share.pk).update(service=start, begun=start)


def charge(seconds: Mapping[int, float]) -> None:
    """Lets organisations, by id, pay for work that ended. Called after the jobs' rows were changed, never before:
    rows are locked in one order everywhere."""
    for organization_id, each in sorted(seconds.items()):
        cost = max(each, LEAST_SERVICE_S)
        QueueShare.objects.filter(organization_id=organization_id).update(service=F("service") + cost)
