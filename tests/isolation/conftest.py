"""Two organisations with one of everything, and answers with what differs on purpose taken out."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User

from tenants.models import Organization
from tests.isolation.world import World, build


@pytest.fixture
def acme_world(acme: Organization, alice: User) -> World:
    return build(acme, alice, "canary-acme-7f3a91")


@pytest.fixture
def globex_world(globex: Organization, charlie: User) -> World:
    return build(globex, charlie, "canary-globex-52c0de")
