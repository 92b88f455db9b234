"""T13 and T37: signing in tells nobody who has an account, leads nowhere else, and begins a new session."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.contrib.auth.hashers import MD5PasswordHasher
from django.contrib.auth.models import User
from django.core import mail
from django.test import Client
from django.urls import reverse

from tenants.models import Organization
from tests.conftest import PASSWORD

pytestmark = pytest.mark.django_db
LOGIN = "/accounts/login/"
_TOKEN = re.compile(r"[A-Za-z0-9]{64}")


def sign_in(client: Client, name: str = "alice", password: str = PASSWORD, **more: str) -> Any:
    return client.post(LOGIN, {"login": name, "password": password, **more})


@pytest.mark.parametrize("name", ["alice", "alice@example.org"])
def test_a_person_signs_in_by_name_or_address_and_arrives_at_the_organisation(
    name: str, alice: User, client: Client
) -> None:
    response = sign_in(client, name)
    assert (response.status_code, response["Location"]) == (302, "/")
    assert client.get("/")["Location"] == "/o/acme/"


def test_somebody_without_an_organisation_is_told_so(client: Client, acme: Organization) -> None:
    client.force_login(User.objects.create_user("eve"), backend="django.contrib.auth.backends.ModelBackend")
    response = client.get("/")
    assert response.status_code == 200
    assert b"No organisation yet" in response.content


def test_a_wrong_password_and_an_unknown_name_look_the_same(alice: User) -> None:
    pages = []
    for name in ("alice", "nobody", "alice@example.org", "nobody@example.org"):
        response = Client().post(LOGIN, {"login": name, "password": "wrong"})
        body = response.content.decode().replace(f'value="{name}"', "")
        pages.append((response.status_code, _TOKEN.sub("", body)))
    assert pages[0] == pages[1]
    assert pages[2] == pages[3]
    assert pages[0][0] == 200


def test_a_password_reset_says_the_same_for_an_unknown_address(alice: User) -> None:
    answers = []
    for address in ("alice@example.org", "nobody@example.org"):
        response = Client().post(reverse("account_reset_password"), {"email": address})
        answers.append((response.status_code, response["Location"]))
    assert answers[0] == answers[1]
    assert "alice@example.org" in mail.outbox[0].to


@pytest.mark.parametrize(
    "target",
    [
        "https://evil.example/",
        "//evil.example/",
        "/\\evil.example",
        "javascript:alert(1)",
        "http:evil.example",
        "https://testserver.evil.example/",
        "\thttps://evil.example/",
    ],
)
def test_next_leads_to_this_site_only(target: str, alice: User) -> None:
    for client, path in ((Client(), LOGIN), (Client(), f"{LOGIN}?next={target}")):
        response = sign_in_at(client, path, target)
        assert response["Location"] == "/"
    client = Client()
    client.force_login(alice, backend="django.contrib.auth.backends.ModelBackend")
    assert "evil" not in client.post("/accounts/logout/", {"next": target})["Location"]


def test_next_leads_to_the_page_that_was_asked_for(alice: User) -> None:
    assert sign_in_at(Client(), LOGIN, "/o/acme/settings/")["Location"] == "/o/acme/settings/"


def sign_in_at(client: Client, path: str, target: str) -> Any:
    return client.post(path, {"login": "alice", "password": PASSWORD, "next": target})


def test_signing_in_begins_a_new_session(alice: User, client: Client) -> None:
    client.get("/o/acme/")
    session = client.session
    session["planted"] = True
    session.save()
    before = client.cookies["sessionid"].value
    sign_in(client)
    assert client.cookies["sessionid"].value != before
    assert not Client(headers={"Cookie": f"sessionid={before}"}).session.get("_auth_user_id")


def test_signing_out_ends_the_session_on_the_server(alice: User, client: Client) -> None:
    sign_in(client)
    before = client.cookies["sessionid"].value
    client.post("/accounts/logout/")
    stale = Client()
    stale.cookies["sessionid"] = before
    assert stale.get("/o/acme/settings/").status_code == 302


def test_strangers_register_only_where_the_operator_opened_it(
    client: Client, acme: Organization, settings: Any
) -> None:
    form = {
        "username": "eve",
        "email": "eve@example.org",
        "password1": "a long enough one",
        "password2": "a long enough one",
    }
    client.post("/accounts/signup/", form)
    assert not User.objects.filter(username="eve").exists()
    settings.SIGNUP_OPEN = True
    client.post("/accounts/signup/", form)
    assert User.objects.filter(username="eve").exists()
    assert client.get("/o/acme/settings/").status_code == 404


def test_failed_attempts_are_limited(alice: User) -> None:
    client = Client()
    for _ in range(12):
        sign_in(client, password="wrong")
    sign_in(client)
    assert client.get("/o/acme/settings/").status_code == 302


@pytest.mark.parametrize("path", [LOGIN, "/admin/login/?next=/admin/"])
def test_the_operators_password_cannot_be_guessed_at_leisure(path: str) -> None:
    User.objects.create_superuser("operator", "operator@example.org", PASSWORD)
    client = Client()
    names = {"login": "operator", "username": "operator", "next": "/admin/"}
    for _ in range(12):
        client.post(path, {**names, "password": "wrong"})
    client.post(path, {**names, "password": PASSWORD})
    assert client.get("/admin/").status_code == 302


def test_the_operator_signs_in_where_everybody_does() -> None:
    User.objects.create_superuser("operator", "operator@example.org", PASSWORD)
    client = Client()
    asked = client.get("/admin/", follow=True)
    assert asked.redirect_chain[-1][0] == "/accounts/login/?next=%2Fadmin%2F"
    response = client.post(LOGIN, {"login": "operator", "password": PASSWORD, "next": "/admin/"})
    assert response["Location"] == "/admin/"
    assert client.get("/admin/").status_code == 200


def test_a_refusal_hashes_as_often_for_an_account_as_for_none(
    alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hashing is what takes time, so its number is what a clock would show."""
    User.objects.create_user("dana@example.org", "dana@example.org", PASSWORD)
    hashes: list[str] = []
    encode = MD5PasswordHasher.encode

    def counted(self: MD5PasswordHasher, password: str, salt: str) -> str:
        hashes.append(password)
        return encode(self, password, salt)

    monkeypatch.setattr(MD5PasswordHasher, "encode", counted)
    seen = {}
    for name in ("alice", "nobody", "alice@example.org", "nobody@example.org", "dana@example.org"):
        hashes.clear()
        assert sign_in(Client(), name, "wrong").status_code == 200
        seen[name] = len(hashes)
    assert len(set(seen.values())) == 1, seen
    assert seen["nobody"] >= 1
