"""T12: a role is given from above; nobody rises by an own request or rules another organisation."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.contrib.messages import get_messages
from django.test import Client

from tenants import members
from tenants.errors import NotAllowed, Refused
from tenants.models import ApiKey, Membership, Organization, Role

pytestmark = pytest.mark.django_db
SETTINGS = "/o/acme/settings/"


def membership(user: User) -> Membership:
    return Membership.objects.get(user=user)


@pytest.fixture
def dana(acme: Organization) -> User:
    user = User.objects.create_user("dana")
    Membership.objects.create(organization=acme, user=user, role=Role.ADMIN)
    return user


def role_of(user: User) -> str:
    return membership(user).role


def test_a_member_manages_nothing(alice: User, bob: User, bob_client: Client) -> None:
    for path, data in (
        (f"members/{membership(bob).pk}/role/", {"role": "owner"}),
        (f"members/{membership(alice).pk}/role/", {"role": "member"}),
        (f"members/{membership(alice).pk}/remove/", {}),
        ("members/add/", {"name": "alice", "role": "owner"}),
        ("keys/create/", {"key_name": "x", "scopes": ["read"]}),
        ("keys/1/revoke/", {}),
    ):
        assert bob_client.post(SETTINGS + path, data).status_code == 403
    page = bob_client.get(SETTINGS)
    assert page.status_code == 200
    assert b"API keys" not in page.content
    assert (role_of(alice), role_of(bob)) == ("owner", "member")
    assert not ApiKey.objects.exists()


def test_an_admin_gives_no_role_above_the_own_and_touches_no_owner(
    alice: User, bob: User, dana: User, client: Client
) -> None:
    client.force_login(dana, backend="django.contrib.auth.backends.ModelBackend")
    for path, data in (
        (f"members/{membership(dana).pk}/role/", {"role": "owner"}),
        (f"members/{membership(dana).pk}/role/", {"role": "member"}),
        (f"members/{membership(bob).pk}/role/", {"role": "owner"}),
        (f"members/{membership(alice).pk}/role/", {"role": "member"}),
        (f"members/{membership(alice).pk}/remove/", {}),
        ("members/add/", {"name": "charlie", "role": "owner"}),
    ):
        assert client.post(SETTINGS + path, data).status_code == 403, path
    assert (role_of(alice), role_of(bob), role_of(dana)) == ("owner", "member", "admin")
    assert client.post(SETTINGS + f"members/{membership(bob).pk}/role/", {"role": "admin"}).status_code == 302
    assert role_of(bob) == "admin"


def test_an_organisation_keeps_an_owner(alice: User, alice_client: Client) -> None:
    with pytest.raises(Refused):
        members.remove_member(actor=membership(alice), member=membership(alice))
    alice_client.post(SETTINGS + f"members/{membership(alice).pk}/remove/")
    with pytest.raises(NotAllowed):
        members.change_role(actor=membership(alice), member=membership(alice), role="member")
    assert role_of(alice) == "owner"


def test_an_unknown_role_is_refused(alice: User, bob: User) -> None:
    with pytest.raises(Refused):
        members.change_role(actor=membership(alice), member=membership(bob), role="root")


def test_an_owner_of_another_organisation_is_nobody_here(charlie: User, bob: User) -> None:
    for act in (
        lambda: members.change_role(actor=membership(charlie), member=membership(bob), role="member"),
        lambda: members.remove_member(actor=membership(charlie), member=membership(bob)),
    ):
        with pytest.raises(NotAllowed):
            act()  # type: ignore[no-untyped-call]
    assert role_of(bob) == "member"


def test_what_was_loaded_before_a_change_gives_no_right_after_it(alice: User, bob: User, dana: User) -> None:
    """Two requests at once: each has loaded its rows when the other's change is written."""
    before = {user: membership(user) for user in (alice, bob, dana)}
    Membership.objects.filter(user=bob).update(role=Role.OWNER)
    for act in (
        lambda: members.remove_member(actor=before[dana], member=before[bob]),
        lambda: members.change_role(actor=before[dana], member=before[bob], role="member"),
    ):
        with pytest.raises(NotAllowed):
            act()  # type: ignore[no-untyped-call]
    Membership.objects.filter(user=alice).update(role=Role.MEMBER)
    for act in (
        lambda: members.remove_member(actor=before[alice], member=before[dana]),
        lambda: members.change_role(actor=before[alice], member=before[dana], role="member"),
    ):
        with pytest.raises(NotAllowed):
            act()
    with pytest.raises(NotAllowed):
        members.add_member(actor=before[alice], name="dana", role="member")
    with pytest.raises(Refused):  # bob is the last owner by now
        members.remove_member(actor=membership(bob), member=before[bob])
    assert (role_of(alice), role_of(bob), role_of(dana)) == ("member", "owner", "admin")
    Membership.objects.filter(user=dana).delete()
    with pytest.raises(NotAllowed):
        members.add_member(actor=before[dana], name="alice", role="member")
    with pytest.raises(Refused):
        members.remove_member(actor=membership(bob), member=before[dana])


def test_a_removed_member_is_out_at_the_next_request(
    alice_client: Client, bob: User, bob_client: Client
) -> None:
    assert bob_client.get(SETTINGS).status_code == 200
    alice_client.post(SETTINGS + f"members/{membership(bob).pk}/remove/")
    assert bob_client.get(SETTINGS).status_code == 404
    assert bob_client.get("/api/v1/documents").status_code == 403


def test_a_deactivated_account_is_out_at_the_next_request(bob: User, bob_client: Client) -> None:
    assert bob_client.get(SETTINGS).status_code == 200
    User.objects.filter(pk=bob.pk).update(is_active=False)
    assert bob_client.get(SETTINGS).status_code == 302
    assert bob_client.get("/api/v1/documents").status_code == 401


def test_adding_a_member_says_the_same_for_an_account_that_does_not_exist(
    alice_client: Client, charlie: User
) -> None:
    answers = []
    for name in ("charlie", "nobody-by-that-name", "charlie@example.org", "nobody@example.org"):
        response = alice_client.post(SETTINGS + "members/add/", {"name": name, "role": "member"})
        message = {str(each) for each in get_messages(response.wsgi_request)}
        answers.append((response.status_code, response["Location"], message))
        Membership.objects.filter(user=charlie, organization__slug="acme").delete()
    assert len({str(answer) for answer in answers}) == 1


def test_an_unverified_address_finds_nobody_where_strangers_may_register(
    charlie: User, settings: Any
) -> None:
    assert members.find_account("Charlie@Example.org") == charlie
    settings.SIGNUP_OPEN = True
    assert members.find_account("charlie@example.org") is None
    assert members.find_account("charlie") == charlie


def test_a_locked_organisation_is_closed_to_its_own_members(acme: Organization, alice_client: Client) -> None:
    assert alice_client.get(SETTINGS).status_code == 200
    Organization.objects.filter(pk=acme.pk).update(is_active=False)
    assert alice_client.get(SETTINGS).status_code == 404
    assert alice_client.get("/api/v1/documents").status_code == 403
