"""Deleting an organisation locks it, runs every package's part and leaves no row; it can be repeated."""

from __future__ import annotations

from typing import Any

import pytest

from search.models import Document
from tenants import lifecycle
from tenants.models import ApiKey, Membership, Organization
from tenants.scope import active, system_scope, tenant_models
from tests.isolation.world import World, build

pytestmark = pytest.mark.django_db


@pytest.fixture
def worlds(acme: Organization, alice: Any, globex: Organization, charlie: Any) -> tuple[World, World]:
    return build(acme, alice, "canary-one"), build(globex, charlie, "canary-two")


def test_nothing_of_it_is_left_and_nothing_of_others_is_touched(
    worlds: tuple[World, World], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, bool, bool]] = []
    monkeypatch.setattr(lifecycle, "_parts", [])
    lifecycle.register(
        lambda organization: seen.append((organization.slug, organization.is_active, active()))
    )
    lifecycle.delete_organization(worlds[0].organization)
    assert seen == [("acme", False, False)]
    assert list(Organization.objects.values_list("slug", flat=True)) == ["globex"]
    assert not ApiKey.objects.exclude(organization=worlds[1].organization).exists()
    assert not Membership.objects.exclude(organization=worlds[1].organization).exists()
    with system_scope("a test looks at all that is left"):
        for model in tenant_models():
            rows = model._default_manager.all()
            assert all(row.organization_id == worlds[1].organization.pk for row in rows)  # type: ignore[attr-defined]
        assert Document.objects.count() == 1


def test_a_part_that_fails_leaves_it_locked_and_can_be_repeated(
    worlds: tuple[World, World], monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = [True]

    def part(organization: Organization) -> None:
        if failing.pop():
            raise OSError("the storage does not answer")

    monkeypatch.setattr(lifecycle, "_parts", [part])
    with pytest.raises(OSError, match="storage"):
        lifecycle.delete_organization(worlds[0].organization)
    locked = Organization.objects.get(slug="acme")
    assert not locked.is_active
    failing.append(False)
    lifecycle.delete_organization(locked)
    assert not Organization.objects.filter(slug="acme").exists()
