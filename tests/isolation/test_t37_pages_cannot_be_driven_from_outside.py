"""T37: no form works without its token, no page can be framed, and no page may load from elsewhere."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from tests.isolation.routes import ROUTES, Kind
from tests.isolation.test_t01_every_route import cases, path_of, send
from tests.isolation.world import World

pytestmark = pytest.mark.django_db


def strict(user: User) -> Client:
    client = Client(enforce_csrf_checks=True)
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return client


@pytest.mark.parametrize(
    ("name", "method"), [c for c in cases(Kind.PAGE) + cases(Kind.API) if "GET" not in c.values]
)
def test_a_change_by_session_needs_the_csrf_token(name: str, method: str, acme_world: World) -> None:
    route = ROUTES[name]
    path = path_of(name, route, acme_world.ids, "acme")
    response = send(strict(acme_world.owner), method, path, route)
    assert response.status_code == 403
    assert acme_world.canary not in response.content.decode()


def test_a_key_needs_no_csrf_token(acme_world: World) -> None:
    client = Client(enforce_csrf_checks=True, headers={"Authorization": f"Bearer {acme_world.key_text}"})
    assert client.post(f"/api/v1/documents/{acme_world.document.pk}/retry").status_code == 202


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/o/acme/",
        "/o/acme/settings/",
        "/o/nowhere/",
        "/accounts/login/",
        "/healthz",
        "/api/v1/documents",
    ],
)
def test_every_answer_forbids_what_is_not_ours(path: str, acme_world: World, alice_client: Client) -> None:
    response = alice_client.get(path)
    policy = dict(part.split(" ", 1) for part in response["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["frame-ancestors"] == "'none'"
    assert policy["base-uri"] == "'none'"
    for name in ("script-src", "style-src", "img-src", "connect-src", "form-action", "font-src"):
        assert policy[name] == "'self'", name
    assert response["X-Frame-Options"] == "DENY"
    assert response["X-Content-Type-Options"] == "nosniff"
    assert response["Referrer-Policy"] == "same-origin"
    assert response["Cross-Origin-Opener-Policy"] == "same-origin"
    assert "camera=()" in response["Permissions-Policy"]
    assert len(response["X-Request-ID"]) == 24


@pytest.mark.parametrize("path", ["/api/docs/", "/admin/"])
def test_the_exceptions_are_for_styles_alone(path: str, db: None) -> None:
    client = Client()
    client.force_login(User.objects.create_superuser("operator"))
    response = client.get(path)
    assert response.status_code == 200
    policy = response["Content-Security-Policy"]
    assert "script-src 'self';" in policy
    assert "style-src 'self' 'unsafe-inline'" in policy
    assert "unsafe-eval" not in policy


def test_the_api_documentation_has_no_inline_script(db: None) -> None:
    page = Client().get("/api/docs/").content.decode()
    assert "<script>" not in page
    assert "https://" not in page.replace("https://www.w3.org", "")
    assert Client().get("/api/docs/?script=").status_code == 200


def test_cookies_are_out_of_reach_of_scripts_and_other_sites(alice: User) -> None:
    response: Any = Client().post("/accounts/login/", {"login": "alice", "password": "correct horse battery"})
    cookie = response.cookies["sessionid"]
    assert cookie["httponly"]
    assert cookie["samesite"] == "Lax"


def test_a_request_id_of_the_caller_is_kept_only_when_harmless(db: None) -> None:
    assert (
        Client().get("/healthz", headers={"X-Request-ID": "trace-12345678"})["X-Request-ID"]
        == "trace-12345678"
    )
    for wrong in ("short", "x" * 65, "with space", "<script>alert(1)</script>"):
        assert Client().get("/healthz", headers={"X-Request-ID": wrong})["X-Request-ID"] != wrong
