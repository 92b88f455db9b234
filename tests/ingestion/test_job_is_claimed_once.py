"""A job is given to one worker: by class, then to who has the fewest running jobs, then by age."""

from __future__ import annotations

import threading

import pytest
from django.db import connections

from ingestion import jobs
from ingestion.models import Priority
from tenants.models import Organization
from tests.ingestion.corpus_of_acme import Clock, job_of, set_job, upload

pytestmark = pytest.mark.django_db


def test_a_claimed_job_is_not_given_out_again(acme: Organization) -> None:
    document = upload(acme)
    clock = Clock()
    lease = jobs.claim(clock=clock)
    assert lease is not None
    assert lease.document_id == document.id
    assert lease.organization == acme
    assert jobs.claim(clock=clock) is None
    assert job_of(acme, document).status == "processing"


def test_a_single_upload_goes_before_a_bulk_import(acme: Organization) -> None:
    first = upload(acme, "a.txt", b"first file")
    urgent = upload(acme, "b.txt", b"second file")
    set_job(acme, first, priority=Priority.BULK)
    lease = jobs.claim(clock=Clock())
    assert lease is not None
    assert lease.document_id == urgent.id


def test_an_organisation_with_running_jobs_waits_for_the_others(
    acme: Organization, globex: Organization
) -> None:
    for number in range(3):
        upload(acme, f"{number}.txt", f"file {number}".encode())
    theirs = upload(globex, "theirs.txt", b"the file of globex")
    clock = Clock()
    first, second, third = (jobs.claim(clock=clock) for _ in range(3))
    assert first is not None
    assert first.organization == acme
    assert second is not None
    assert second.document_id == theirs.id
    assert third is not None
    assert third.organization == acme


def test_a_job_is_not_given_out_before_its_time(acme: Organization) -> None:
    document = upload(acme)
    clock = Clock()
    lease = jobs.claim(clock=clock)
    assert lease is not None
    lease.put_back(seconds=30)
    assert jobs.claim(clock=clock) is None
    assert jobs.due_in(clock=clock) == (0, 30.0)
    clock.forward(31)
    again = jobs.claim(clock=clock)
    assert again is not None
    assert again.document_id == document.id


@pytest.mark.django_db(transaction=True)
def test_of_two_workers_that_claim_at_once_one_gets_each_job(acme: Organization) -> None:
    for number in range(6):
        upload(acme, f"{number}.txt", f"file {number}".encode())
    got: list[object] = []
    start = threading.Barrier(3)

    def work() -> None:
        start.wait()
        while (lease := jobs.claim()) is not None:
            got.append(lease.job_id)
        connections.close_all()

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 6
    assert len(set(got)) == 6


def test_nothing_is_begun_for_an_organisation_that_is_locked(
    acme: Organization, globex: Organization
) -> None:
    upload(acme)
    clock = Clock()
    acme.is_active = False
    acme.save()
    assert jobs.claim(clock=clock) is None
    assert jobs.due_in(clock=clock) == (0, None)
    upload(globex)
    assert jobs.claim(clock=clock) is not None
