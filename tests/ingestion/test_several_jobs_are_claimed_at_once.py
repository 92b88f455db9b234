"""Further jobs are claimed at once where nobody else waits: those that would be next anyway, and none that may kill."""

from __future__ import annotations

from typing import Any

import pytest

from ingestion import jobs
from ingestion.ahead import SHORT_CHARACTERS
from ingestion.leases import LeaseLost, renew_all
from ingestion.models import IngestionJob, Priority, QueueShare
from tenants.models import Organization
from tenants.scope import tenant_scope
from tests.ingestion.corpus_of_acme import job_of, upload
from tests.ingestion.ready_for_work import storage

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("storage")]
__all__ = ["storage"]


def some(organization: Organization, count: int, size: int = 10) -> list[Any]:
    return [upload(organization, f"{n}.txt", f"{n} ".encode() + b"x" * size) for n in range(count)]


def more(most: int = 32, characters: int = SHORT_CHARACTERS) -> list[jobs.Lease]:
    first = jobs.claim()
    assert first is not None
    return jobs.claim_more(first, most=most, characters=characters)


def test_they_are_the_oldest_in_their_order(acme: Organization) -> None:
    documents = some(acme, 6)
    assert [lease.document_id for lease in more(most=3)] == [document.id for document in documents[1:4]]
    assert [job_of(acme, document).status for document in documents] == ["processing"] * 4 + ["queued"] * 2


def test_none_while_another_organisation_waits(acme: Organization, globex: Organization) -> None:
    some(acme, 3)
    some(globex, 1)
    assert more() == []


def test_none_while_the_other_class_waits(acme: Organization) -> None:
    documents = some(acme, 3)
    with tenant_scope(acme):
        IngestionJob.objects.filter(document=documents[2]).update(priority=Priority.BULK)
    assert more() == []


def test_they_end_before_a_file_that_is_too_long(acme: Organization) -> None:
    some(acme, 5, size=30)
    assert len(more(characters=70)) == 2


def test_they_end_before_one_that_was_cut_off(acme: Organization) -> None:
    documents = some(acme, 4)
    with tenant_scope(acme):
        IngestionJob.objects.filter(document=documents[2]).update(interruptions=1)
    assert [lease.document_id for lease in more()] == [documents[1].id]


def test_none_beside_one_that_was_cut_off(acme: Organization) -> None:
    documents = some(acme, 3)
    with tenant_scope(acme):
        IngestionJob.objects.filter(document=documents[0]).update(interruptions=1)
    assert more() == []


def test_each_lease_is_lost_by_itself(acme: Organization) -> None:
    documents = some(acme, 4)
    leases = more()
    jobs.cancel(organization=acme, document=documents[2])
    assert [lease.document_id for lease in renew_all(leases, stage="parsing")] == [
        documents[1].id,
        documents[3].id,
    ]
    leases[0].put_back()
    with pytest.raises(LeaseLost):
        leases[0].renew(stage="parsing")
    leases[2].renew(stage="parsing")


def test_a_worker_that_was_killed_owes_the_time_of_all_its_jobs_once(acme: Organization) -> None:
    some(acme, 9)
    leases = more()
    with tenant_scope(acme):
        before = QueueShare.objects.get().service
        IngestionJob.objects.update(lease_expires_at=leases[0].begun_at)
    assert jobs.interrupt_expired() == 9
    with tenant_scope(acme):
        assert QueueShare.objects.get().service - before < 0.5
