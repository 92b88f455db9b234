"""T03: a request's organisation comes from the key or the address; no field, header or cookie changes it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from ingestion.models import IngestionJob
from search.models import Document
from tenants.authentication import SESSION_KEY
from tenants.models import Membership, Organization
from tenants.scope import system_scope
from tests.isolation.world import World

pytestmark = pytest.mark.django_db
NAMES = (
    "tenant",
    "tenant_id",
    "organization",
    "organization_id",
    "org",
    "owner",
    "owner_id",
    "user_id",
    "project",
)
HEADERS = (
    "X-Tenant",
    "X-Organization",
    "X-Organization-Id",
    "X-Project-Name",
    "X-Forwarded-User",
    "X-User-Id",
)


def wishes(world: World) -> dict[str, str]:
    return {name: str(world.organization.pk) for name in NAMES}


@pytest.fixture
def charlies(globex_world: World) -> Client:
    return Client(headers={"Authorization": f"Bearer {globex_world.key_text}"})


def listed(client: Client, query: str = "", **headers: str) -> list[str]:
    answer: Any = client.get(f"/api/v1/documents{query}", headers=headers).json()
    return [document["id"] for document in answer["results"]]


def test_no_query_field_changes_what_is_listed(
    charlies: Client, acme_world: World, globex_world: World
) -> None:
    own = [str(globex_world.document.pk)]
    assert listed(charlies) == own
    for name in NAMES:
        for value in ("acme", acme_world.organization.pk, acme_world.owner.pk):
            assert listed(charlies, f"?{name}={value}") == own


def test_no_header_and_no_cookie_changes_what_is_listed(
    charlies: Client, charlie_client: Client, acme_world: World, globex_world: World
) -> None:
    own = [str(globex_world.document.pk)]
    for client in (charlies, charlie_client):
        for name in HEADERS:
            assert listed(client, **{name: "acme"}) == own
        for name in NAMES:
            client.cookies[name] = "acme"
        assert listed(client) == own


def test_fields_of_an_upload_do_not_choose_its_organisation(
    charlies: Client, acme_world: World, globex_world: World
) -> None:
    file = SimpleUploadedFile("mine.txt", b"Some words of mine.")
    other = {"id": str(acme_world.document.pk), "document_id": str(acme_world.document.pk)}
    response = charlies.post("/api/v1/documents", {"file": file, **wishes(acme_world), **other})
    assert response.status_code in (202, 400)
    with system_scope("a test looks at both organisations"):
        of_acme = set(
            Document.objects.filter(organization=acme_world.organization).values_list("id", flat=True)
        )
        jobs = set(
            IngestionJob.objects.filter(organization=acme_world.organization).values_list("status", flat=True)
        )
        created = Document.objects.exclude(id__in=(acme_world.document.pk, globex_world.document.pk))
        assert all(each.organization_id == globex_world.organization.pk for each in created)
    assert of_acme == {acme_world.document.pk}
    assert jobs == {"failed"}


@pytest.mark.parametrize(
    ("path", "body"), [("/api/v1/search", {"query": "canary"}), ("/api/v1/answers", {"question": "canary?"})]
)
def test_fields_of_a_question_do_not_choose_its_organisation(
    path: str, body: dict[str, str], charlies: Client, acme_world: World
) -> None:
    response = charlies.post(
        path, json.dumps({**body, **wishes(acme_world)}), content_type="application/json"
    )
    assert response.status_code in (200, 400, 503)
    assert acme_world.canary not in response.content.decode()


def test_a_session_cannot_be_led_to_an_organisation_without_membership(
    charlie_client: Client, acme_world: World, globex_world: World
) -> None:
    assert charlie_client.get("/o/acme/settings/").status_code == 404
    assert charlie_client.session.get(SESSION_KEY) != "acme"
    session = charlie_client.session
    session[SESSION_KEY] = "acme"
    session.save()
    refused = charlie_client.get("/api/v1/documents")
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "no_organization")
    assert charlie_client.get("/")["Location"] == "/o/globex/"
    charlie_client.get("/o/globex/settings/")
    assert listed(charlie_client) == [str(globex_world.document.pk)]


def test_what_is_meant_for_an_organisation_that_one_has_left_goes_to_no_other(
    alice: User, alice_client: Client, acme: Organization, globex: Organization
) -> None:
    """A script of alice's uploads to acme by her session; she is in globex too, and no longer in acme."""
    Membership.objects.create(organization=globex, user=alice, role="owner")
    alice_client.get("/o/acme/settings/")
    Membership.objects.filter(organization=acme, user=alice).delete()
    file = SimpleUploadedFile("acme.txt", b"Figures of acme.")
    sent = alice_client.post("/api/v1/documents", {"file": file})
    assert (sent.status_code, sent.json()["error"]["code"]) == (403, "no_organization")
    with system_scope("a test looks at both organisations"):
        assert not Document.objects.exists()


def test_a_member_of_two_gets_the_one_whose_page_was_opened_last(
    client: Client, alice: User, acme_world: World, globex_world: World, globex: Organization
) -> None:
    Membership.objects.create(organization=globex, user=alice, role="member")
    client.force_login(alice, backend="django.contrib.auth.backends.ModelBackend")
    refused = client.get("/api/v1/documents")
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "no_organization")
    for slug, world in (("globex", globex_world), ("acme", acme_world), ("globex", globex_world)):
        assert client.get(f"/o/{slug}/settings/").status_code == 200
        assert listed(client) == [str(world.document.pk)]
    own = client.delete(f"/api/v1/documents/{globex_world.document.pk}")
    assert own.status_code == 403
