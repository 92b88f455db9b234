"""In production a PostgreSQL role or table that row-level security does not bind is refused at the start."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import connection
from django.db.backends.signals import connection_created
from django.db.utils import ConnectionHandler

from tenants import database_role

pytestmark = [pytest.mark.postgres, pytest.mark.django_db(transaction=True)]
ROLE = "tessera_role_test"
PASSWORD = "only-for-this-test"


@pytest.fixture
def as_role() -> Iterator[Any]:
    """Opens a connection as a role with the given attributes; PostgreSQL here trusts local roles."""
    opened = []

    def connect(attributes: str) -> Any:
        with connection.cursor() as cursor:
            cursor.execute(f"CREATE ROLE {ROLE} LOGIN {attributes} PASSWORD '{PASSWORD}'")
        settings = connection.settings_dict | {"USER": ROLE, "PASSWORD": PASSWORD}
        other = ConnectionHandler({"default": settings})["default"]
        opened.append(other)
        return other

    yield connect
    for other in opened:
        other.close()
        pool = getattr(other, "close_pool", None)
        if pool:
            pool()
    with connection.cursor() as cursor:
        cursor.execute(f"DROP ROLE {ROLE}")


@pytest.mark.parametrize(
    ("attributes", "said"),
    [("SUPERUSER", "is a superuser"), ("NOSUPERUSER BYPASSRLS", "has BYPASSRLS")],
)
def test_a_role_that_the_policies_do_not_bind_is_refused(as_role: Any, attributes: str, said: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=said):
        database_role.refuse_unbound_role(as_role(attributes))


BREAK_AND_MEND = {
    "not forced": (
        "ALTER TABLE search_document NO FORCE ROW LEVEL SECURITY",
        "ALTER TABLE search_document FORCE ROW LEVEL SECURITY",
    ),
    "switched off": (
        "ALTER TABLE search_document DISABLE ROW LEVEL SECURITY",
        "ALTER TABLE search_document ENABLE ROW LEVEL SECURITY",
    ),
    "renamed policy": (
        "ALTER POLICY tessera_organization ON search_document RENAME TO other",
        "ALTER POLICY other ON search_document RENAME TO tessera_organization",
    ),
}


@pytest.mark.parametrize("how", BREAK_AND_MEND)
def test_a_table_that_the_policy_does_not_guard_is_refused(as_role: Any, how: str) -> None:
    bound = as_role("NOSUPERUSER NOBYPASSRLS")
    database_role.refuse_open_tables(bound)
    spoil, mend = BREAK_AND_MEND[how]
    with connection.cursor() as cursor:
        cursor.execute(spoil)
    try:
        with pytest.raises(ImproperlyConfigured, match=r"not forced on search_document\."):
            database_role.refuse_open_tables(bound)
    finally:
        with connection.cursor() as cursor:
            cursor.execute(mend)


def test_every_connection_is_looked_at_until_one_was_right(as_role: Any) -> None:
    bound = as_role("NOSUPERUSER NOBYPASSRLS")
    connection.close()
    database_role.watch_first_connection()
    try:
        for _ in range(2):  # a refused connection is not left open for the next query of the thread
            with pytest.raises(ImproperlyConfigured):
                connection.ensure_connection()
        bound.ensure_connection()
        connection.ensure_connection()
    finally:
        connection_created.disconnect(dispatch_uid=database_role.__name__)


ROOT = Path(__file__).resolve().parents[2]
CELERY = ["-m", "celery", "-A", "config.celery"]
SERVERS = {
    "web": ["-m", "uvicorn", "config.asgi:application", "--port", "8110"],
    "worker": [*CELERY, "worker", "--pool", "solo"],
    "command": ["manage.py", "organization", "list"],
}


@pytest.mark.parametrize("process", SERVERS)
def test_a_process_does_not_start_as_a_superuser(as_role: Any, process: str, tmp_path: Path) -> None:
    """Its settings are those of production and right, but for the role."""
    connect = as_role("SUPERUSER").settings_dict
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("TESSERA_")},
        "TESSERA_MODE": "production",
        "TESSERA_VAR_DIR": str(tmp_path),
        "TESSERA_SECRET_KEY": secrets.token_hex(32),
        "TESSERA_DATABASE_URL": f"postgresql://{ROLE}:{PASSWORD}@{connect['HOST']}:{connect['PORT'] or 5432}/{connect['NAME']}",
        "TESSERA_BROKER_URL": "redis://127.0.0.1:1/0",
        "TESSERA_REDIS_URL": "redis://127.0.0.1:1/1",
        "TESSERA_QDRANT_URL": "http://127.0.0.1:1",
        "TESSERA_QDRANT_API_KEY": "only-for-this-test",
        "TESSERA_INFERENCE_URL": "http://127.0.0.1:1",
        "TESSERA_INFERENCE_API_KEY": "only-for-this-test",
        "TESSERA_LOAD_MODELS": "false",
        "DJANGO_SETTINGS_MODULE": "config.settings",
    }
    done = subprocess.run(
        [sys.executable, *SERVERS[process]],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1, done.stderr
    assert f"The PostgreSQL role {ROLE} is a superuser" in done.stderr
    assert "NOSUPERUSER NOBYPASSRLS" in done.stderr
    if process != "command":
        assert "Traceback" not in done.stderr
