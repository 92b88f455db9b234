"""On PostgreSQL the database itself hides rows: shown with plain SQL by a role that is no superuser."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from django.db import connection, transaction

from search.models import Collection
from tenants.models import Organization
from tenants.scope import ScopeError, system_scope, tenant_models, tenant_scope

pytestmark = [
    pytest.mark.postgres,
    pytest.mark.django_db(transaction=True),
]
ROLE = "tessera_row_security_test"
PASSWORD = "only-for-this-test"


@pytest.fixture
def plain(two_rows: None) -> Iterator[psycopg.Connection[Any]]:
    """A connection of its own, past the product's guard, as a role that may use every table and owns none."""
    if connection.vendor != "postgresql":
        pytest.fail("run this test with TESSERA_DATABASE_URL of a PostgreSQL server")
    settings = connection.get_connection_params()
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [ROLE])
        if cursor.fetchone() is None:
            cursor.execute(f"CREATE ROLE {ROLE} LOGIN NOSUPERUSER NOBYPASSRLS PASSWORD '{PASSWORD}'")
        cursor.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {ROLE}")
    target = {key: settings[key] for key in ("host", "port", "dbname") if settings.get(key)}
    try:
        with psycopg.connect(**target, user=ROLE, password=PASSWORD) as opened:
            yield opened
    finally:
        with connection.cursor() as cursor:
            cursor.execute(f"DROP OWNED BY {ROLE}")
            cursor.execute(f"DROP ROLE {ROLE}")


@pytest.fixture
def two_rows(acme: Organization, globex: Organization) -> None:
    for organization in (acme, globex):
        with tenant_scope(organization):
            Collection.objects.create(name=organization.slug)


def names(plain: psycopg.Connection[Any]) -> list[str]:
    return [row[0] for row in plain.execute("SELECT name FROM search_collection ORDER BY name")]


def enter(plain: psycopg.Connection[Any], organization: str, system: str = "off") -> None:
    plain.execute("SELECT set_config('tessera.organization', %s, true)", [organization])
    plain.execute("SELECT set_config('tessera.system', %s, true)", [system])


def test_every_tenant_table_forces_row_security(db: None) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT relname FROM pg_class WHERE relrowsecurity AND relforcerowsecurity")
        forced = {row[0] for row in cursor.fetchall()}
        cursor.execute("SELECT tablename FROM pg_policies WHERE policyname = 'tessera_organization'")
        with_policy = {row[0] for row in cursor.fetchall()}
    tables = {model._meta.db_table for model in tenant_models()}
    assert tables <= forced
    assert tables <= with_policy


def test_without_a_scope_no_row_is_seen_or_written(
    plain: psycopg.Connection[Any], acme: Organization
) -> None:
    assert names(plain) == []
    assert plain.execute("UPDATE search_collection SET name = 'x'").rowcount == 0
    assert plain.execute("DELETE FROM search_collection").rowcount == 0
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        insert(plain, acme)


def test_a_scope_shows_and_writes_the_rows_of_its_organisation_only(
    plain: psycopg.Connection[Any], acme: Organization, globex: Organization
) -> None:
    enter(plain, str(acme.pk))
    assert names(plain) == ["acme"]
    assert plain.execute("UPDATE search_collection SET name = 'renamed'").rowcount == 1
    insert(plain, acme)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        insert(plain, globex)


def test_a_row_cannot_be_moved_to_another_organisation(
    plain: psycopg.Connection[Any], acme: Organization, globex: Organization
) -> None:
    enter(plain, str(acme.pk))
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        plain.execute("UPDATE search_collection SET organization_id = %s", [globex.pk])


def test_the_scope_ends_with_its_transaction(plain: psycopg.Connection[Any], acme: Organization) -> None:
    enter(plain, str(acme.pk))
    assert names(plain) == ["acme"]
    plain.rollback()
    assert names(plain) == []


def test_the_system_scope_shows_all(plain: psycopg.Connection[Any]) -> None:
    enter(plain, "", "on")
    assert names(plain) == ["acme", "globex"]


def setting() -> tuple[str, str]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT current_setting('tessera.organization', true), current_setting('tessera.system', true)"
        )
        organization, system = cursor.fetchone() or ("", "")
    return organization or "", system or "off"


def test_the_product_sets_and_takes_back_what_the_policies_read(acme: Organization) -> None:
    with transaction.atomic():
        assert setting() == ("", "off")
        with tenant_scope(acme):
            assert setting() == (str(acme.pk), "off")
        assert setting() == ("", "off")
        with system_scope("a test"):
            assert setting() == ("", "on")
            with tenant_scope(acme):
                assert setting() == (str(acme.pk), "off")
            assert setting() == ("", "on")
        with pytest.raises(ZeroDivisionError), tenant_scope(acme):
            raise ZeroDivisionError
        assert setting() == ("", "off")
    assert setting() == ("", "off")


def test_a_scope_left_by_an_error_rolls_its_writes_back(acme: Organization) -> None:
    def fail_half_way() -> None:
        with tenant_scope(acme):
            Collection.objects.create(name="General")
            Collection.objects.raw("SELECT 1")

    with pytest.raises(ScopeError):
        fail_half_way()
    with tenant_scope(acme):
        assert not Collection.objects.exists()


def insert(plain: psycopg.Connection[Any], organization: Organization) -> None:
    plain.execute(
        "INSERT INTO search_collection (id, organization_id, name, created_at) "
        "VALUES (gen_random_uuid(), %s, 'new', now())",
        [organization.pk],
    )
