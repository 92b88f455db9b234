"""Counts each organisation's points against its passages now and then, so that the operator sees a difference.

A count is cheap and shows what is missing or too much, not what is wrong: `manage.py audit_index` compares everything.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime

from django.db.models import F, OuterRef, Subquery
from django.utils import timezone

from ingestion.models import IndexCount, IngestionJob
from search.index import IndexFailure, open_index
from search.models import Chunk
from tenants.models import Organization
from tenants.scope import system_scope, tenant_scope

logger = logging.getLogger(__name__)

AT_ONCE = 100
"""Opening an index costs time; the others come at the next call."""


def count_some(*, clock: Callable[[], datetime] = timezone.now) -> int:
    """Counts the organisations that were counted longest ago, :data:`AT_ONCE` of them; returns how many differ. An index
    that fails holds up no other."""
    with system_scope("find the indexes that were counted longest ago"):
        last = IndexCount.objects.filter(organization=OuterRef("pk")).values("counted_at")[:1]
        due = Organization.objects.annotate(last=Subquery(last)).order_by(
            F("last").asc(nulls_first=True), "pk"
        )
        found = list(due[:AT_ONCE])
    differ = 0
    for organization in found:
        try:
            differ += not count(organization, clock=clock)
        except (IndexFailure, OSError):
            logger.exception("the index of organisation %s could not be counted", organization.pk)
    return differ


def count(organization: Organization, *, clock: Callable[[], datetime] = timezone.now) -> bool:
    """Whether the organisation has as many points as passages of published versions, leaving out points of versions that
    are not published. Keeps the count, but for one whose index is being written. Raises what the index raises."""
    with tenant_scope(organization):
        if IngestionJob.objects.filter(status=IngestionJob.Status.PROCESSING).exists():
            return True
        rows = Chunk.objects.filter(version__published_for__isnull=False).count()
        others = Chunk.objects.count() - rows
    # Without passages there may be no index, and opening one would make it.
    points = open_index(organization).count() if rows else 0
    points = max(rows, points - others) if points > rows else points
    with tenant_scope(organization):
        values = {"points": points, "rows": rows, "counted_at": clock()}
        if not IndexCount.objects.update(**values):
            IndexCount.objects.create(organization=organization, **values)
    return points == rows
