"""The two organisations of every test, their people, their keys and their canaries.

acme belongs to alice (owner) and bob (member); globex to charlie (owner), who must get nothing of acme. Where
the state of a run lies is said in :mod:`tests.settings`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from django.contrib.auth.models import User
from django.db.backends.base.creation import BaseDatabaseCreation
from django.test import Client

from tenants.models import Membership, Organization, Role

PASSWORD = "correct horse battery"

# A busy machine makes an example slow, not wrong.
hypothesis.settings.register_profile("tessera", deadline=None)
hypothesis.settings.load_profile("tessera")


@pytest.fixture(scope="session")
def django_db_modify_db_settings(django_db_modify_db_settings_parallel_suffix: None) -> None:
    """Django serializes the fresh database once, which reads tenant tables."""
    from tenants.scope import maintenance_scope

    plain = BaseDatabaseCreation.serialize_db_to_string

    def in_scope(self: Any) -> str:
        with maintenance_scope("the test runner serializes the fresh database"):
            return plain(self)

    BaseDatabaseCreation.serialize_db_to_string = in_scope  # type: ignore[method-assign]


@pytest.fixture(autouse=True)
def no_scope_survives_a_test() -> Iterator[None]:
    yield
    from tenants import scope

    assert not scope.active(), "a tenant scope was left open"


@pytest.fixture(autouse=True)
def fast_passwords_and_fresh_rate_limits(settings: Any) -> None:
    """Rate limits count per test, and hashing costs nothing where it is not what is tested."""
    from django.core.cache import cache

    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    cache.clear()


@pytest.fixture(autouse=True)
def state_stays_in_the_test(settings: Any, tmp_path: Path) -> Iterator[None]:
    """Rolled-back organisations give their ids to the next test, which must not find their points."""
    settings.VAR = tmp_path
    yield
    from search.index import close_all

    close_all()


def _person(name: str) -> User:
    return User.objects.create_user(name, f"{name}@example.org", PASSWORD)


@pytest.fixture
def acme(db: None) -> Organization:
    return Organization.objects.create(slug="acme", name="Acme")


@pytest.fixture
def globex(db: None) -> Organization:
    return Organization.objects.create(slug="globex", name="Globex")


@pytest.fixture
def alice(acme: Organization) -> User:
    user = _person("alice")
    Membership.objects.create(organization=acme, user=user, role=Role.OWNER)
    return user


@pytest.fixture
def bob(acme: Organization) -> User:
    user = _person("bob")
    Membership.objects.create(organization=acme, user=user, role=Role.MEMBER)
    return user


@pytest.fixture
def charlie(globex: Organization) -> User:
    user = _person("charlie")
    Membership.objects.create(organization=globex, user=user, role=Role.OWNER)
    return user


@pytest.fixture
def signed_in() -> Callable[[User], Client]:
    """``signed_in(alice)`` is a browser in which alice is signed in. CSRF is not checked in it."""

    def make(user: User) -> Client:
        client = Client()
        client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
        return client

    return make


@pytest.fixture
def alice_client(alice: User, signed_in: Callable[[User], Client]) -> Client:
    return signed_in(alice)


@pytest.fixture
def bob_client(bob: User, signed_in: Callable[[User], Client]) -> Client:
    return signed_in(bob)


@pytest.fixture
def charlie_client(charlie: User, signed_in: Callable[[User], Client]) -> Client:
    return signed_in(charlie)


@pytest.fixture
def make_key() -> Callable[..., str]:
    """``make_key(acme, "read", "write")`` is a fresh API key's text."""
    from tenants.keys import create_key

    def make(organization: Organization, *scopes: str, created_by: User | None = None) -> str:
        key, text = create_key(
            organization=organization, name="test", scopes=list(scopes or ("read",)), created_by=created_by
        )
        assert key.pk
        return text

    return make


@pytest.fixture
def api(make_key: Callable[..., str]) -> Callable[..., Client]:
    """``api(acme, "read", "write")`` is a client that sends a fresh key of acme with every request."""

    def make(organization: Organization, *scopes: str) -> Client:
        return Client(headers={"Authorization": f"Bearer {make_key(organization, *scopes)}"})

    return make


@pytest.fixture(scope="session")
def models_dir() -> Path:
    """Where verified weights are kept."""
    from config.env import env

    return env().models_dir


@pytest.fixture(scope="session")
def embedder(models_dir: Path) -> Any:
    """The real embedder, fetched and verified like the product does. One for the whole run."""
    from inference import catalog
    from inference.embedder import SentenceTransformerEmbedder
    from inference.errors import WeightsMissing

    name = "all-MiniLM-L6-v2"
    try:
        folder = catalog.path(name, models_dir)
    except WeightsMissing:
        folder = catalog.fetch(name, models_dir)
    return SentenceTransformerEmbedder(folder, name)
