"""Idempotency-Keys that nobody will send again are forgotten."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from django.utils import timezone

from ingestion.models import IdempotencyKey
from tenants.models import Organization
from tenants.scope import tenant_scope

EXPIRE_AFTER = timedelta(hours=24)


def forget_old(*, clock: Callable[[], datetime] = timezone.now) -> int:
    """Deletes the keys of a day ago and before, in every organisation; returns how many."""
    forgotten = 0
    for organization in Organization.objects.order_by("pk"):
        with tenant_scope(organization):
            old = IdempotencyKey.objects.filter(created_at__lt=clock() - EXPIRE_AFTER)
            forgotten += old.delete()[0]
    return forgotten
