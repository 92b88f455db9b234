"""A scope is opened for a saved organisation, never for nothing, and never grows while it is open."""

from __future__ import annotations

import contextvars
import threading
from typing import Any

import pytest

from search.models import Collection
from tenants import scope
from tenants.models import Organization
from tenants.scope import ScopeError, current_organization, maintenance_scope, system_scope, tenant_scope

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("wrong", [None, 1, "acme", True, [], Organization(slug="unsaved")])
def test_only_a_saved_organisation_opens_a_scope(wrong: Any) -> None:
    with pytest.raises(ScopeError), tenant_scope(wrong):
        pytest.fail("a scope was opened")


@pytest.mark.parametrize("wrong", [None, "", "  ", 1])
def test_a_system_scope_needs_its_reason(wrong: Any) -> None:
    with pytest.raises(ScopeError), system_scope(wrong):
        pytest.fail("a scope was opened")


def test_another_organisation_cannot_be_entered_from_within(acme: Organization, globex: Organization) -> None:
    with tenant_scope(acme):
        with pytest.raises(ScopeError), tenant_scope(globex):
            pytest.fail("a scope was opened")
        with pytest.raises(ScopeError), system_scope("widening"):
            pytest.fail("a scope was opened")
        with pytest.raises(ScopeError), maintenance_scope("widening"):
            pytest.fail("a scope was opened")
        assert current_organization() == acme


def test_the_same_organisation_may_be_entered_again(acme: Organization) -> None:
    with tenant_scope(acme):
        with tenant_scope(acme):
            Collection.objects.create(name="General")
        assert Collection.objects.count() == 1
    assert not scope.active()


def test_a_system_scope_is_narrowed_by_an_organisation_and_comes_back(
    acme: Organization, globex: Organization
) -> None:
    for organization in (acme, globex):
        with tenant_scope(organization):
            Collection.objects.create(name="General")
    with system_scope("a test"):
        with pytest.raises(ScopeError):
            current_organization()
        assert Collection.objects.count() == 2
        with tenant_scope(acme):
            assert [row.organization_id for row in Collection.objects.all()] == [acme.pk]
        assert Collection.objects.count() == 2


def test_an_error_closes_the_scope(acme: Organization) -> None:
    with pytest.raises(ZeroDivisionError), tenant_scope(acme):
        raise ZeroDivisionError
    assert not scope.active()


def test_a_thread_starts_outside_every_scope(acme: Organization) -> None:
    seen: list[bool] = []
    with tenant_scope(acme):
        thread = threading.Thread(target=lambda: seen.append(scope.active()))
        thread.start()
        thread.join()
        contextvars.Context().run(lambda: seen.append(scope.active()))
    assert seen == [False, False]
