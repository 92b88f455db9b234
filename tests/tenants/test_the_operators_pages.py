"""The operator sees every organisation in Django's admin; keys show no secret there."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from search.models import Conversation, Document
from tenants.models import ApiKey, Organization
from tenants.scope import tenant_scope
from tests.isolation.world import World, build

pytestmark = pytest.mark.django_db


@pytest.fixture
def world(acme: Organization, alice: Any) -> World:
    return build(acme, alice, "canary-of-acme")


@pytest.fixture
def operator(signed_in: Any) -> Client:
    client: Client = signed_in(User.objects.create_superuser("operator"))
    return client


def test_every_list_and_form_opens(world: World, operator: Client) -> None:
    for path, pk in (
        ("tenants/organization", world.organization.pk),
        ("tenants/membership", world.membership.pk),
        ("tenants/apikey", world.key.pk),
        ("auth/user", world.owner.pk),
    ):
        assert operator.get(f"/admin/{path}/").status_code == 200, path
        page = operator.get(f"/admin/{path}/{pk}/change/")
        assert page.status_code == 200, path
        assert world.key.secret_sha256 not in page.content.decode()
    assert operator.get(f"/admin/auth/user/{world.owner.pk}/delete/").status_code == 200


def test_an_account_is_deleted_with_its_conversations_and_its_documents_stay(
    world: World, operator: Client
) -> None:
    response = operator.post(f"/admin/auth/user/{world.owner.pk}/delete/", {"post": "yes"})
    assert response.status_code == 302
    assert not User.objects.filter(pk=world.owner.pk).exists()
    assert not ApiKey.objects.exists()
    with tenant_scope(world.organization):
        assert Document.objects.get().uploaded_by is None
        assert not Conversation.objects.exists()


def test_keys_are_revoked_and_never_made_there(world: World, operator: Client) -> None:
    operator.post("/admin/tenants/apikey/", {"action": "revoke", "_selected_action": [world.key.pk]})
    world.key.refresh_from_db()
    assert world.key.revoked_at is not None
    assert operator.get("/admin/tenants/apikey/add/").status_code == 403


def test_an_organisation_is_not_deleted_past_its_files(world: World, operator: Client) -> None:
    assert (
        operator.post(
            f"/admin/tenants/organization/{world.organization.pk}/delete/", {"post": "yes"}
        ).status_code
        == 403
    )
