"""T11: a key does what its scopes say, in its organisation, while it and its maker are in good standing."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from unittest.mock import patch

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.test import Client, RequestFactory
from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from tenants import authentication
from tenants.errors import NotAllowed, Refused
from tenants.keys import create_key, revoke_key
from tenants.models import ApiKey, Membership, Organization, Role
from tests.isolation.world import World

pytestmark = pytest.mark.django_db
LIST = "/api/v1/documents"


def ask(header: str, path: str = LIST, method: str = "get") -> Any:
    return getattr(Client(), method)(path, headers={"Authorization": header})


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "bEaReR"])
def test_every_spelling_of_the_scheme_has_the_same_limits(scheme: str, acme_world: World) -> None:
    _, text = create_key(
        organization=acme_world.organization, name="reader", scopes=["read"], created_by=None
    )
    one = f"{LIST}/{acme_world.document.pk}"
    assert ask(f"{scheme} {text}", one).status_code == 200
    refused = ask(f"{scheme} {text}", one, "delete")
    assert refused.status_code == 403
    assert refused.json()["error"]["code"] == "missing_scope"
    assert ask(f"{scheme} {text}", one).status_code == 200


def test_a_key_is_taken_from_its_header_alone(acme_world: World) -> None:
    key = acme_world.key_text
    for headers in (
        {"Authorization": key},
        {"Authorization": f"Token {key}"},
        {"Authorization": f"Basic {key}"},
        {"Authorization": f"Bearer {key},Bearer {key}"},
        {"Proxy-Authorization": f"Bearer {key}"},
        {"X-API-Key": key},
        {"Cookie": f"sessionid={key}; token={key}"},
    ):
        assert Client().get(LIST, headers=headers).status_code == 401, headers
    assert Client().get(LIST, {"api_key": key, "access_token": key}).status_code == 401


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_method_that_only_looks_needs_what_its_view_says(method: str, acme: Organization) -> None:
    class Keys(APIView):
        required_scopes = {"GET": "admin"}

        def get(self, request: Request) -> Response:
            return Response()

    for scopes, status in ((["read", "write"], 403), (["admin"], 200)):
        _, text = create_key(organization=acme, name="a", scopes=scopes, created_by=None)
        request = RequestFactory().generic(method, "/", headers={"Authorization": f"Bearer {text}"})
        assert Keys.as_view()(request).status_code == status


def test_a_key_is_kept_as_a_hash_and_found_by_its_prefix(acme: Organization) -> None:
    key, text = create_key(organization=acme, name="a", scopes=["read"], created_by=None)
    secret = text.split("_", 2)[2]
    assert text == f"tsk_{key.prefix}_{secret}"
    kept = [str(value) for value in ApiKey.objects.filter(pk=key.pk).values_list()[0]]
    assert not any(secret in value for value in kept)
    assert key.secret_sha256 == authentication.sha256_of(secret)


def test_a_secret_is_compared_in_constant_time(acme: Organization, make_key: Callable[..., str]) -> None:
    text = make_key(acme, "read")
    unknown = "tsk_" + "0" * 12 + "_" + "A" * 43
    with patch("tenants.authentication.hmac.compare_digest", wraps=hmac.compare_digest) as same:
        assert ask(f"Bearer {text}").status_code == 200
        assert ask(f"Bearer {unknown}").status_code == 401
    assert same.call_count == 2


def test_what_is_no_key_is_refused_alike(acme: Organization, make_key: Callable[..., str]) -> None:
    text = make_key(acme, "read")
    wrong = [
        "",
        "tsk_",
        text[:-1],
        text[:-1] + ("A" if text[-1] != "A" else "B"),
        text + "A",
        text.upper(),
        f"{text} {text}",
        text.replace("tsk_", "sk_"),
        "tsk_' OR 1=1 --_" + "A" * 43,
        "tsk_%_" + "A" * 43,
        "tsk_" + "0" * 12 + "_" + "A" * 43,
        "x" * 10_000,
    ]
    for value in wrong:
        response = ask(f"Bearer {value}")
        assert response.status_code == 401, value[:60]
        error = response.json()["error"]
        assert error.pop("request_id") == response["X-Request-ID"]
        assert error == {"code": "invalid_key", "message": "This API key is not valid.", "detail": None}
        assert response["WWW-Authenticate"] == 'Bearer realm="tessera"'
    assert ask("Basic YWxpY2U6eA==").status_code == 401
    assert ask(f"Bearer {text}").status_code == 200


def test_a_wrong_key_is_not_saved_by_a_session(alice_client: Client) -> None:
    assert alice_client.get(LIST).status_code == 200
    assert alice_client.get(LIST, headers={"Authorization": "Bearer nonsense"}).status_code == 401


def test_a_revoked_key_and_a_locked_organisation_are_refused_at_once(acme: Organization) -> None:
    key, text = create_key(organization=acme, name="a", scopes=["read"], created_by=None)
    assert ask(f"Bearer {text}").status_code == 200
    acme.is_active = False
    acme.save()
    assert ask(f"Bearer {text}").status_code == 401
    acme.is_active = True
    acme.save()
    revoke_key(key)
    first = key.revoked_at
    revoke_key(key)
    assert key.revoked_at == first
    assert ask(f"Bearer {text}").status_code == 401


def test_a_key_never_has_more_rights_than_its_maker_has_now(acme_world: World) -> None:
    alice, text = acme_world.owner, acme_world.key_text
    one = f"{LIST}/{acme_world.document.pk}/retry"
    Membership.objects.filter(user=alice).update(role=Role.MEMBER)
    assert ask(f"Bearer {text}", one, "post").status_code == 403
    assert ask(f"Bearer {text}").status_code == 200
    User.objects.filter(pk=alice.pk).update(is_active=False)
    assert ask(f"Bearer {text}").status_code == 401
    User.objects.filter(pk=alice.pk).update(is_active=True)
    Membership.objects.filter(user=alice).delete()
    assert ask(f"Bearer {text}").status_code == 401


def test_nobody_makes_a_key_beyond_the_own_role(acme: Organization, bob: User, charlie: User) -> None:
    for maker, scopes in ((bob, ["write"]), (bob, ["read", "admin"]), (charlie, ["read"])):
        with pytest.raises(NotAllowed):
            create_key(organization=acme, name="x", scopes=scopes, created_by=maker)
    for name, scopes in (
        ("x", []),
        ("x", ["root"]),
        ("", ["read"]),
        ("x" * 81, ["read"]),
        ("a\nb", ["read"]),
    ):
        with pytest.raises(Refused):
            create_key(organization=acme, name=name, scopes=scopes, created_by=None)
    assert not ApiKey.objects.exists()


def test_the_last_use_is_noted_at_most_once_a_minute(acme: Organization) -> None:
    key, text = create_key(organization=acme, name="a", scopes=["read"], created_by=None)
    ask(f"Bearer {text}")
    key.refresh_from_db()
    first = key.last_used_at
    assert first is not None
    ask(f"Bearer {text}")
    key.refresh_from_db()
    assert key.last_used_at == first
    ApiKey.objects.update(last_used_at=timezone.now() - timedelta(minutes=2))
    ask(f"Bearer {text}")
    key.refresh_from_db()
    assert key.last_used_at is not None
    assert key.last_used_at >= first


def test_the_command_prints_the_key_alone(acme: Organization, capsys: pytest.CaptureFixture[str]) -> None:
    call_command("apikey", "create", "--organization", "acme", "--name", "ci", "--scopes", "read,write")
    printed = capsys.readouterr()
    assert printed.out.count("\n") == 1
    assert printed.err == ""
    assert ask(f"Bearer {printed.out.strip()}").status_code == 200
    key = ApiKey.objects.get()
    assert (key.name, key.scopes, key.created_by) == ("ci", ["read", "write"], None)
    call_command("apikey", "revoke", "--organization", "acme", "--prefix", key.prefix)
    assert ask(f"Bearer {printed.out.strip()}").status_code == 401
    with pytest.raises(CommandError):
        call_command("apikey", "create", "--organization", "nowhere", "--name", "x")
    with pytest.raises(CommandError):
        call_command("apikey", "create", "--organization", "acme", "--name", "x", "--scopes", "root")


def test_the_settings_page_shows_a_key_once(alice_client: Client, acme: Organization) -> None:
    response = alice_client.post("/o/acme/settings/keys/create/", {"key_name": "script", "scopes": ["read"]})
    key = ApiKey.objects.get(organization=acme)
    page = response.content.decode()
    text = page.split('id="new-key"')[1].split('value="')[1].split('"')[0]
    assert "no-store" in response["Cache-Control"]
    assert ask(f"Bearer {text}").status_code == 200
    assert text not in alice_client.get("/o/acme/settings/").content.decode()
    alice_client.post(f"/o/acme/settings/keys/{key.pk}/revoke/")
    assert ask(f"Bearer {text}").status_code == 401
