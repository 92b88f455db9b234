"""``among`` looks rows up one by one, whatever else their organisation has, and in no other organisation."""

from __future__ import annotations

import pytest
from django.db import connection

from search.models import Collection
from tenants.models import Organization
from tenants.scope import ScopeError, tenant_scope

pytestmark = pytest.mark.django_db


def collection(organization: Organization) -> Collection:
    with tenant_scope(organization):
        return Collection.objects.create(name="General")


def test_only_rows_of_the_scope_are_found(acme: Organization, globex: Organization) -> None:
    ours, theirs = collection(acme), collection(globex)
    with tenant_scope(acme):
        assert list(Collection.objects.among([ours.pk, theirs.pk])) == [ours]
        assert list(Collection.objects.among([theirs.pk])) == []
        assert list(Collection.objects.among([])) == []


def test_a_query_does_not_change_its_scope(acme: Organization, globex: Organization) -> None:
    ours = collection(acme)
    with pytest.raises(ScopeError):
        Collection.objects.among([ours.pk])
    with tenant_scope(acme):
        rows = Collection.objects.among([ours.pk])
    with tenant_scope(globex), pytest.raises(ScopeError):
        list(rows)


def test_rows_are_looked_up_by_their_keys_not_by_their_organisation(acme: Organization) -> None:
    if connection.vendor != "sqlite":
        return  # PostgreSQL knows how many rows an organisation has
    ours = collection(acme)
    with tenant_scope(acme):
        plan = Collection.objects.among([ours.pk]).explain()
        assert "organization_id" not in plan, plan
        assert "(id=?)" in plan, plan
