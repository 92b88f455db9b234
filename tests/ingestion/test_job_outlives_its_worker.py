"""A lease that ran out is an interruption: the job goes on, and the old worker can change nothing."""

from __future__ import annotations

import pytest

from ingestion import jobs
from ingestion.jobs import ALONE_AFTER, MAX_INTERRUPTIONS, LeaseLost
from tenants.models import Organization
from tests.ingestion.corpus_of_acme import Clock, job_of, upload

pytestmark = pytest.mark.django_db


def test_a_job_whose_lease_ran_out_is_claimed_again_and_the_old_lease_is_lost(acme: Organization) -> None:
    document = upload(acme)
    clock = Clock()
    old = jobs.claim(clock=clock)
    assert old is not None
    clock.forward(61)
    assert jobs.claim(clock=clock) is None, "it waits for its back-off first"
    clock.forward(3)
    new = jobs.claim(clock=clock)
    assert new is not None
    with pytest.raises(LeaseLost):
        old.renew(stage="parsing")
    with pytest.raises(LeaseLost):
        old.hand_in()
    with pytest.raises(LeaseLost):
        old.put_back()
    old.fail(code="malformed", message="late", remedy="late")
    new.renew(stage="parsing")
    job = job_of(acme, document)
    assert (job.status, job.interruptions, job.attempts) == ("processing", 0, 0)


def test_a_renewed_lease_does_not_run_out(acme: Organization) -> None:
    upload(acme)
    clock = Clock()
    lease = jobs.claim(clock=clock)
    assert lease is not None
    for _ in range(5):
        clock.forward(50)
        lease.renew(stage="parsing")
    assert jobs.interrupt_expired(clock=clock) == 0


def test_only_getting_further_than_ever_resets_the_interruptions(acme: Organization) -> None:
    document = upload(acme)
    clock = Clock()

    def interrupted_at(done: int) -> int:
        clock.forward(400)
        lease = jobs.claim(clock=clock)
        assert lease is not None
        lease.renew(stage="embedding", done=done, total=9)
        clock.forward(61)
        jobs.interrupt_expired(clock=clock)
        return job_of(acme, document).interruptions

    assert [interrupted_at(done) for done in (3, 3, 2, 4, 4)] == [1, 2, 3, 1, 2]


def test_a_job_that_is_always_cut_off_fails_in_the_end_and_can_be_retried(acme: Organization) -> None:
    document = upload(acme)
    clock = Clock()
    for _ in range(MAX_INTERRUPTIONS):
        clock.forward(400)
        assert jobs.claim(clock=clock) is not None
        clock.forward(61)
        jobs.interrupt_expired(clock=clock)
    job = job_of(acme, document)
    assert (job.status, job.error_code) == ("failed", "interrupted")
    assert job.error_remedy
    assert jobs.retry(organization=acme, document=document)
    assert jobs.claim(clock=clock) is not None


def test_a_job_that_was_cut_off_twice_runs_alone(acme: Organization) -> None:
    suspect = upload(acme, "suspect.txt", b"the suspect")
    clock = Clock()
    for _ in range(ALONE_AFTER):
        clock.forward(400)
        assert jobs.claim(clock=clock) is not None
        clock.forward(61)
        jobs.interrupt_expired(clock=clock)
    other = upload(acme, "other.txt", b"the other")
    clock.forward(1)
    harmless = jobs.claim(clock=clock)
    assert harmless is not None
    assert harmless.document_id == other.id, "the suspect still waits for its back-off"
    clock.forward(30)
    harmless.renew(stage="parsing")
    assert jobs.claim(clock=clock) is None, "the suspect waits until nothing else runs"
    harmless.put_back(seconds=0)
    alone = jobs.claim(clock=clock)
    assert alone is not None
    assert alone.document_id == suspect.id
    assert jobs.claim(clock=clock) is None, "nothing else runs beside it"


def test_the_only_worker_takes_everything_back_when_it_starts(acme: Organization) -> None:
    document = upload(acme)
    clock = Clock()
    assert jobs.claim(clock=clock) is not None
    assert jobs.interrupt_expired(clock=clock) == 0
    assert jobs.interrupt_expired(clock=clock, sole_worker=True) == 1
    again = jobs.claim(clock=clock)
    assert again is not None
    assert again.document_id == document.id
