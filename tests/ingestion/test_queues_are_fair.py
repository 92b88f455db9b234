"""Whose job is next: single uploads before bulk imports, organisations in turn, and nobody for ever last."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from ingestion import jobs, shares
from ingestion.claiming import SINGLES_IN_A_ROW
from ingestion.jobs import ALONE_AFTER, Lease
from ingestion.models import IngestionJob, Priority, QueueShare
from tenants.models import Organization
from tenants.scope import system_scope, tenant_scope
from tests.ingestion.corpus_of_acme import Clock
from tests.ingestion.long_queues import queue_files

pytestmark = pytest.mark.django_db

LATER = datetime(2029, 12, 31, tzinfo=UTC)


def work(clock: Clock, *, seconds: float = 1.0) -> Lease:
    """One worker's next job, done in ``seconds``."""
    lease = jobs.claim(clock=clock)
    assert lease is not None
    clock.forward(seconds)
    lease.hand_in()
    return lease


def test_ten_thousand_older_files_of_acme_delay_one_of_globex_by_one_at_most(
    acme: Organization, globex: Organization
) -> None:
    queue_files(acme, 10_000)
    clock = Clock()
    for _ in range(3):
        assert work(clock).organization == acme
    (theirs,) = queue_files(globex, 1, since=LATER)
    assert theirs in [work(clock).job_id for _ in range(2)]
    assert work(clock).organization == acme


def test_no_statement_of_a_claim_looks_at_every_row_of_a_long_queue(
    acme: Organization, globex: Organization
) -> None:
    """SQLite says how it finds rows; one that it scans for is a claim that slows down with the queue."""
    queue_files(acme, 50)
    queue_files(globex, 50, priority=Priority.BULK)
    jobs.claim(clock=Clock())
    with CaptureQueriesContext(connection) as said:
        assert jobs.claim(clock=Clock()) is not None
    if connection.vendor != "sqlite":
        return
    statements = [each["sql"] for each in said if "ingestion_ingestionjob" in each["sql"]]
    assert len(statements) >= 5
    with system_scope("a test asks for plans"), connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(f"EXPLAIN QUERY PLAN {statement}")
            plan = [row[3] for row in cursor.fetchall()]
            scans = [step for step in plan if step.startswith("SCAN")]
            assert not [s for s in scans if "tenants_organization" not in s and "job_begun" not in s], plan
            assert scans or not any("TEMP B-TREE" in step for step in plan), plan


def test_working_time_is_shared_not_the_number_of_files(acme: Organization, globex: Organization) -> None:
    """The files of acme take nine times as long."""
    queue_files(acme, 20)
    queue_files(globex, 100, since=LATER)
    clock = Clock()
    served: Counter[str] = Counter()
    for _ in range(40):
        lease = jobs.claim(clock=clock)
        assert lease is not None
        took = 9.0 if lease.organization == acme else 1.0
        clock.forward(took)
        lease.hand_in()
        served[lease.organization.slug] += round(took)
    assert abs(served["acme"] - served["globex"]) <= 10


def test_who_rested_has_no_credit(acme: Organization, globex: Organization) -> None:
    """Otherwise a night's rest of globex would stop acme for as long as acme had worked."""
    queue_files(acme, 300)
    clock = Clock()
    for _ in range(100):
        work(clock)
    queue_files(globex, 50, since=LATER)
    turns = [work(clock).organization.slug for _ in range(10)]
    assert Counter(turns) == {"acme": 5, "globex": 5}


def test_who_was_cut_off_pays_for_the_time(acme: Organization, globex: Organization) -> None:
    queue_files(acme, 3)
    queue_files(globex, 10, since=LATER)
    clock = Clock()
    first = jobs.claim(clock=clock)
    assert first is not None
    assert first.organization == acme
    clock.forward(600)
    turns = [work(clock).organization.slug for _ in range(5)]
    assert turns == ["globex"] * 5


def test_a_single_upload_overtakes_a_bulk_import_of_anybody(acme: Organization, globex: Organization) -> None:
    queue_files(acme, 50, priority=Priority.BULK)
    clock = Clock()
    for _ in range(10):
        work(clock)
    (theirs,) = queue_files(globex, 1, since=LATER)
    (ours,) = queue_files(acme, 1, since=LATER)
    assert [work(clock).job_id for _ in range(2)] == [theirs, ours]


def test_bulk_gets_one_job_in_five_while_single_uploads_never_end(acme: Organization) -> None:
    queue_files(acme, 10, priority=Priority.BULK)
    queue_files(acme, 100, since=LATER)
    clock = Clock()
    turns = [work(clock).job_id for _ in range(50)]
    with tenant_scope(acme):
        bulk = set(IngestionJob.objects.filter(priority=Priority.BULK).values_list("id", flat=True))
    places = [place for place, id_ in enumerate(turns) if id_ in bulk]
    assert places == list(range(SINGLES_IN_A_ROW, 50, SINGLES_IN_A_ROW + 1))


def test_a_retry_by_a_person_is_no_bulk_import_any_more(acme: Organization) -> None:
    queue_files(acme, 2, priority=Priority.BULK)
    clock = Clock()
    lease = jobs.claim(clock=clock)
    assert lease is not None
    lease.fail(code="encrypted", message="Protected.", remedy="Send the password.")
    with tenant_scope(acme):
        document = IngestionJob.objects.get(id=lease.job_id).document
    assert jobs.retry(organization=acme, document=document)
    with tenant_scope(acme):
        assert IngestionJob.objects.get(id=lease.job_id).priority == Priority.SINGLE


def test_jobs_that_must_run_alone_get_their_turn_in_a_steady_stream(
    acme: Organization, globex: Organization
) -> None:
    """Two workers that always overlap: at no claim is nothing else running."""
    suspects = set(queue_files(acme, 2))
    with tenant_scope(acme):
        IngestionJob.objects.filter(id__in=suspects).update(interruptions=ALONE_AFTER)
    queue_files(globex, 400, since=LATER)
    clock = Clock()
    running: list[Lease] = [lease for lease in [jobs.claim(clock=clock)] if lease]
    assert running[0].job_id in suspects, "nothing runs yet"
    assert jobs.claim(clock=clock) is None
    done = []
    for _ in range(100):
        clock.forward(5)
        if running:
            oldest = running.pop(0)
            oldest.hand_in()
            done.append(oldest.job_id)
        running += [lease for _ in range(2 - len(running)) if (lease := jobs.claim(clock=clock))]
        together = {lease.job_id for lease in running}
        assert len(together) < 2 or not together & suspects
    assert suspects <= set(done)
    assert len(done) > 60, "the others went on"


def test_what_is_charged_while_another_job_begins_is_not_forgotten(
    acme: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    with system_scope("a test of the shares"):
        shares.begin(acme.pk, now=5.0)
        plain = QueueShare.objects.get_or_create

        def meanwhile(**named: Any) -> Any:
            found = plain(**named)
            shares.charge({acme.pk: 10.0})
            return found

        monkeypatch.setattr(QueueShare.objects, "get_or_create", meanwhile)
        shares.begin(acme.pk, now=6.0)
        share = QueueShare.objects.get()
    assert (share.service, share.begun) == (15.0, 15.0)
