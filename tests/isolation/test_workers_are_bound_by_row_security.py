"""On PostgreSQL a worker with the application's role sees the rows of one organisation at a time, and those of all only
where it claims, takes back and looks for work: rows of the queue and counts, never a text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from ingestion import deletion, jobs, pipeline, sweeper
from ingestion.jobs import LeaseLost
from tenants.models import Organization
from tenants.scope import tenant_models
from tests.ingestion.corpus_of_acme import job_of, upload
from tests.ingestion.ready_for_work import storage
from tests.ingestion.words_for_work import words
from tests.search.residue import residue

pytestmark = [
    pytest.mark.postgres,
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("words"),
]
__all__ = ["storage", "words"]
ROLE = "tessera_worker_security_test"
QUEUE = {"ingestion_ingestionjob", "ingestion_queueshare", "ingestion_indexcount"}
OWNED = sorted(model._meta.db_table for model in tenant_models())
SEEN = " UNION ".join(f"SELECT organization_id FROM {table}" for table in OWNED)
SCOPE = "SELECT current_setting('tessera.organization', true), current_setting('tessera.system', true)"


@dataclass
class Statements:
    """What each statement of the product could have seen, asked on its own connection just before."""

    without_scope: int = 0
    of_one: dict[int, int] = field(default_factory=dict)
    of_all: list[str] = field(default_factory=list)
    leaks: list[str] = field(default_factory=list)

    def __call__(self, execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        raw = connection.connection
        key, system = raw.execute(SCOPE).fetchone()
        seen = {row[0] for row in raw.execute(SEEN).fetchall()}
        if system == "on":
            self.of_all.append(sql)
        elif key:
            self.of_one[int(key)] = self.of_one.get(int(key), 0) + 1
            if not seen <= {int(key)}:
                self.leaks.append(f"in the scope of {key}: {seen} for {sql[:200]}")
        else:
            self.without_scope += 1
            if seen:
                self.leaks.append(f"without a scope: {seen} for {sql[:200]}")
        return execute(sql, params, many, context)

    @property
    def tables_of_all(self) -> set[str]:
        """Tenant tables that were named while the rows of all organisations could be seen."""
        return {table for sql in self.of_all for table in OWNED if re.search(rf'"{table}"', sql)}


@pytest.fixture
def statements(acme: Organization, globex: Organization) -> Iterator[Statements]:
    """From here on the connection is one of a role that is no superuser, bound as the application's is."""
    if connection.vendor != "postgresql":
        pytest.fail("run this test with TESSERA_DATABASE_URL of a PostgreSQL server")
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE ROLE {ROLE} NOSUPERUSER NOBYPASSRLS NOLOGIN")
        cursor.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {ROLE}")
        cursor.execute(f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {ROLE}")
        cursor.execute(f"SET ROLE {ROLE}")
    statements = Statements()
    try:
        with connection.execute_wrapper(statements):
            yield statements
    finally:
        with connection.cursor() as cursor:
            cursor.execute("RESET ROLE")
            cursor.execute(f"DROP OWNED BY {ROLE}")
            cursor.execute(f"DROP ROLE {ROLE}")


def test_files_of_two_organisations_are_read_swept_and_deleted(
    acme: Organization, globex: Organization, statements: Statements
) -> None:
    documents = [
        (organization, upload(organization, f"{n}.txt", f"{organization.slug} oils pump {n}.".encode()))
        for organization in (acme, globex)
        for n in range(2)
    ]
    pipeline.work_until_idle()
    assert [job_of(*each).status for each in documents] == ["ready"] * 4
    upload(acme, "killed.txt", b"acme oils another pump.")
    assert jobs.claim() is not None
    sweeper._looked_at = None
    sweeper.sweep(clock=lambda: timezone.now() + timedelta(hours=2))
    assert deletion.delete_document(organization=globex, document_id=documents[2][1].id)
    assert not any(residue(globex, documents[2][1].id).values())
    assert statements.leaks == []
    assert set(statements.of_one) == {acme.pk, globex.pk}
    assert statements.without_scope > 0
    assert statements.tables_of_all == QUEUE


def test_a_lease_is_none_in_another_organisation(
    acme: Organization, globex: Organization, statements: Statements
) -> None:
    document = upload(acme)
    lease = jobs.claim()
    assert lease is not None
    forged = replace(lease, organization=globex)
    with pytest.raises(LeaseLost):
        forged.renew(stage="parsing")
    with pytest.raises(LeaseLost):
        forged.put_back()
    forged.fail(code="malformed", message="It is broken.", remedy="Mend it.")
    forged.let_go()
    job = job_of(acme, document)
    assert (job.status, job.attempts, job.lease_token) == ("processing", 0, lease.token)
    lease.renew(stage="parsing")
    assert statements.leaks == []
