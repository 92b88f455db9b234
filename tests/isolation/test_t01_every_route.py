"""T01: on every route of the product, what belongs to another organisation answers like what does not exist.

Same status, same body, same number of queries. The walk enumerates the URLconf: a new route fails until it is
classified in :mod:`tests.isolation.routes`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from search.models import Document, Turn
from tenants.models import ApiKey, Membership
from tenants.scope import tenant_scope
from tests.isolation.routes import ROUTES, Kind, Pattern, Route, patterns
from tests.isolation.world import World, random_ids

pytestmark = pytest.mark.django_db

ALL = list(patterns())
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_TOKEN = re.compile(r"[A-Za-z0-9]{64}")
_REQUEST_ID = re.compile(r'"request_id": ?"[^"]*"')


def cases(kind: Kind, *, with_ids: bool | None = None) -> list[Any]:
    return [
        pytest.param(name, method, id=f"{method} {name}")
        for name, route in ROUTES.items()
        if route.kind is kind and (with_ids is None or bool(route.ids) is with_ids)
        for method in route.methods
    ]


@dataclass(frozen=True, slots=True)
class Seen:
    """What can be told from outside about an answer."""

    status: int
    body: str
    queries: int


def send(client: Client, method: str, path: str, route: Route, **headers: str) -> Any:
    if method == "GET":
        return client.get(path, headers=headers)
    files = {name: SimpleUploadedFile("a.txt", v) for name, v in route.body.items() if isinstance(v, bytes)}
    body: dict[str, Any] = {"data": {**route.body, **files}}
    if route.kind is Kind.API and not files:
        body["content_type"] = "application/json"
    return getattr(client, method.lower())(path, headers=headers, **body)


def content(response: Any) -> str:
    raw = b"".join(response.streaming_content) if response.streaming else response.content
    return raw.decode("utf-8", "replace")


def seen(client: Client, method: str, path: str, route: Route, *names: str) -> Seen:
    with CaptureQueriesContext(connection) as queries:
        response = send(client, method, path, route)
        body = content(response)
    for name in names:
        body = body.replace(name, "NAME")
    body = _REQUEST_ID.sub("ID", _TOKEN.sub("TOKEN", _UUID.sub("UUID", body)))
    return Seen(response.status_code, body, len(queries))


def path_of(name: str, route: Route, ids: dict[str, str], slug: str = "") -> str:
    arguments = {parameter: ids[kind] for parameter, kind in route.ids.items()}
    return reverse(name, kwargs={**({"organization": slug} if route.kind is Kind.PAGE else {}), **arguments})


@pytest.fixture(params=["key", "session"])
def charlie_by_key_or_session(
    request: pytest.FixtureRequest, globex_world: World, charlie_client: Client
) -> Client:
    if request.param == "session":
        return charlie_client
    return Client(headers={"Authorization": f"Bearer {globex_world.key_text}"})


def test_every_route_is_classified_and_every_classification_is_a_route() -> None:
    unclassified = [each.route for each in ALL if not each.is_operator and each.name not in ROUTES]
    assert unclassified == []
    assert set(ROUTES) == {each.name for each in ALL if not each.is_operator}


def test_classifications_name_all_parameters_and_agree_with_the_address() -> None:
    for each in ALL:
        if each.is_operator:
            continue
        route = ROUTES[each.name]
        own = each.parameters - {"organization"}
        if route.kind in (Kind.PAGE, Kind.API):
            assert own == set(route.ids), each.route
        assert (route.kind is Kind.PAGE) == each.route.startswith("o/<slug:organization>/"), each.route
        assert (route.kind is Kind.API) == each.route.startswith("api/v1/"), each.route


@pytest.mark.parametrize(("name", "method"), cases(Kind.PAGE))
def test_an_organisation_of_others_looks_like_none(
    name: str, method: str, acme_world: World, charlie_client: Client
) -> None:
    route = ROUTES[name]
    theirs = seen(charlie_client, method, path_of(name, route, acme_world.ids, "acme"), route, "acme")
    nobodys = seen(charlie_client, method, path_of(name, route, random_ids(), "nowhere"), route, "nowhere")
    assert theirs == nobodys
    assert theirs.status == 404
    assert acme_world.canary not in theirs.body


@pytest.mark.parametrize(("name", "method"), cases(Kind.PAGE, with_ids=True))
def test_an_object_of_others_under_the_own_address_looks_like_none(
    name: str, method: str, acme_world: World, charlie_client: Client
) -> None:
    route = ROUTES[name]
    charlie_client.get("/o/globex/settings/")
    path = path_of(name, route, acme_world.ids, "globex")
    theirs = seen(charlie_client, method, path, route)
    other = random_ids()
    nobodys = seen(charlie_client, method, path_of(name, route, other, "globex"), route)
    assert theirs == nobodys
    assert theirs.status == 404
    assert_untouched(acme_world)


@pytest.mark.parametrize(("name", "method"), cases(Kind.API, with_ids=True))
def test_an_object_of_others_over_the_api_looks_like_none(
    name: str, method: str, acme_world: World, charlie_by_key_or_session: Client
) -> None:
    route = ROUTES[name]
    charlie_by_key_or_session.get(reverse("api-documents"))
    theirs = seen(charlie_by_key_or_session, method, path_of(name, route, acme_world.ids), route)
    nobodys = seen(charlie_by_key_or_session, method, path_of(name, route, random_ids()), route)
    assert theirs == nobodys
    assert theirs.status == 404
    assert_untouched(acme_world)


@pytest.mark.parametrize(
    ("name", "method"), cases(Kind.API, with_ids=False) + cases(Kind.PAGE, with_ids=False)
)
def test_a_list_of_the_own_organisation_shows_nothing_of_others(
    name: str, method: str, acme_world: World, globex_world: World, charlie_client: Client
) -> None:
    route = ROUTES[name]
    path = path_of(name, route, {}, "globex")
    body = content(send(charlie_client, method, path, route))
    for trace in (
        acme_world.canary,
        *(acme_world.ids[kind] for kind in ("document", "turn", "conversation")),
    ):
        assert trace not in body


@pytest.mark.parametrize(("name", "method"), cases(Kind.PAGE))
def test_a_page_sends_nobody_to_the_sign_in_whether_or_not_it_exists(
    name: str, method: str, acme_world: World
) -> None:
    route, client = ROUTES[name], Client()
    theirs = send(client, method, path_of(name, route, acme_world.ids, "acme"), route)
    nobodys = send(client, method, path_of(name, route, acme_world.ids, "nowhere"), route)
    assert theirs.status_code == nobodys.status_code == (302 if method == "GET" else 404)
    if method == "GET":
        assert theirs["Location"].startswith("/accounts/login/?next=")
    assert acme_world.canary not in content(theirs)
    assert_untouched(acme_world)


@pytest.mark.parametrize(("name", "method"), cases(Kind.API))
def test_the_api_answers_nobody(name: str, method: str, acme_world: World) -> None:
    route = ROUTES[name]
    response = send(Client(), method, path_of(name, route, acme_world.ids), route)
    assert response.status_code == 401
    assert response.json()["error"]["code"] == "not_authenticated"
    assert response["WWW-Authenticate"].startswith("Bearer")
    assert_untouched(acme_world)


@pytest.mark.parametrize("each", [p for p in ALL if p.is_operator], ids=lambda p: p.route)
def test_the_operators_pages_are_closed_to_everybody_else(
    each: Pattern, acme_world: World, alice_client: Client
) -> None:
    path = each.route.replace("<slug:suite>", "acme").replace("<uuid:run_id>", acme_world.ids["run"])
    path = "/" + re.sub(r"<[^>]*>", "1", path).replace("^", "").replace("$", "")
    path = re.sub(r"\(\?P1[^)]*\)|\(\?P<[^)]*\)", "1", path).replace("\\", "")
    for client in (Client(), alice_client):
        response = client.get(path)
        if each.name == "login":
            assert response.status_code == (403 if client is alice_client else 302)
        elif each.name in ("logout", "jsi18n"):
            assert response.status_code in (200, 302, 405)
        else:
            assert response.status_code in (302, 404), path
            if response.status_code == 302:
                assert response["Location"].startswith(("/admin/", "/accounts/login/?next="))
        assert acme_world.canary not in content(response)


@pytest.mark.parametrize("name", [n for n, r in ROUTES.items() if r.kind in (Kind.PUBLIC, Kind.PERSON)])
def test_what_knows_no_organisation_tells_nothing_of_one(
    name: str, acme_world: World, charlie_client: Client
) -> None:
    arguments = {"uidb36": "1", "key": "1-abc"} if name == "account_reset_password_from_key" else {}
    for client in (charlie_client, Client()):
        response = client.get(reverse(name, kwargs=arguments))
        assert response.status_code in (200, 302, 503)
        assert acme_world.canary not in content(response)
        if ROUTES[name].kind is Kind.PERSON and client is not charlie_client:
            assert response["Location"].startswith("/accounts/login/?next=")


@pytest.mark.parametrize(
    ("name", "method"), [c for c in cases(Kind.PAGE) if "GET" in c.values and "page-image" not in c.values]
)
def test_the_walk_can_fail_for_alice_finds_what_charlie_does_not(
    name: str, method: str, acme_world: World, alice_client: Client
) -> None:
    """But for pictures of pages, which a text has none of."""
    route = ROUTES[name]
    response = send(alice_client, method, path_of(name, route, acme_world.ids, "acme"), route)
    assert response.status_code == 200


@pytest.mark.parametrize(("name", "method"), [c for c in cases(Kind.API) if "GET" in c.values])
def test_the_walk_can_fail_for_alice_finds_it_over_the_api(
    name: str, method: str, acme_world: World, alice_client: Client
) -> None:
    route = ROUTES[name]
    response = send(alice_client, method, path_of(name, route, acme_world.ids), route)
    assert response.status_code == 200


def assert_untouched(world: World) -> None:
    with tenant_scope(world.organization):
        assert Document.objects.filter(pk=world.document.pk, published=world.version).exists()
        turn = Turn.objects.get(pk=world.turn.pk)
    assert (turn.status, turn.answer) == ("answered", f"It is {world.canary}.")
    assert ApiKey.objects.filter(pk=world.key.pk, revoked_at__isnull=True).exists()
    assert Membership.objects.filter(pk=world.membership.pk, role="member").exists()
