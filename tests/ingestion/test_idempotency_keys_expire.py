"""An Idempotency-Key holds for a day; then it may name another upload."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from ingestion import receipts, sweeper
from ingestion.models import IdempotencyKey
from tenants.models import Organization
from tenants.scope import tenant_scope
from tests.ingestion.corpus_of_acme import upload
from tests.ingestion.ready_for_work import storage

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("storage")]
__all__ = ["storage"]


def age(organization: Organization, hours: int) -> None:
    with tenant_scope(organization):
        IdempotencyKey.objects.update(created_at=timezone.now() - timedelta(hours=hours))


def test_a_key_is_forgotten_after_a_day(acme: Organization, globex: Organization) -> None:
    for organization in (acme, globex):
        upload(organization, idempotency_key="k")
    age(acme, 25)
    age(globex, 23)
    assert receipts.forget_old() == 1
    assert upload(acme, content=b"other content", idempotency_key="k")
    with tenant_scope(globex):
        assert IdempotencyKey.objects.count() == 1


def test_the_sweep_forgets_old_keys(acme: Organization, monkeypatch: pytest.MonkeyPatch) -> None:
    upload(acme, idempotency_key="k")
    age(acme, 25)
    monkeypatch.setattr(sweeper, "_looked_at", None)
    sweeper.sweep()
    with tenant_scope(acme):
        assert not IdempotencyKey.objects.exists()
