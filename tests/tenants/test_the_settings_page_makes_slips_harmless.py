"""The settings page offers the least role first, and asks before it takes something away."""

from __future__ import annotations

import re

import pytest
from django.test import Client

from tenants.keys import create_key
from tenants.models import Membership, Organization

pytestmark = pytest.mark.django_db


def test_the_role_chosen_for_a_new_member_is_member(alice_client: Client) -> None:
    page = alice_client.get("/o/acme/settings/").content.decode()
    form = page[page.index("Add a member") :]
    assert re.findall(r'<option value="(\w+)" selected>', form) == ["member"]


@pytest.mark.usefixtures("bob")
def test_removing_and_revoking_ask_first(acme: Organization, alice_client: Client) -> None:
    maker = Membership.objects.get(organization=acme, user__username="alice").user
    create_key(organization=acme, name="nightly", scopes=["read"], created_by=maker)
    page = alice_client.get("/o/acme/settings/").content.decode()
    assert len(re.findall(r'<form[^>]*/remove/" data-confirm="Remove bob ', page)) == 1
    assert len(re.findall(r'<form[^>]*/revoke/" data-confirm="Revoke the key nightly\?', page)) == 1
