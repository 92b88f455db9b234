"""A typed failure is an attempt: three, then failed with its reason; what can never succeed fails at once."""

from __future__ import annotations

import pytest

from ingestion import jobs
from ingestion.jobs import LeaseLost
from tenants.models import Organization
from tests.ingestion.corpus_of_acme import Clock, job_of, upload

pytestmark = pytest.mark.django_db


def test_the_third_failure_is_final_and_says_why(acme: Organization) -> None:
    document = upload(acme)
    clock = Clock()
    states = []
    for _ in range(3):
        clock.forward(60)
        lease = jobs.claim(clock=clock)
        assert lease is not None
        lease.fail(code="timeout", message="It took too long.", remedy="Split it.")
        states.append(job_of(acme, document).status)
    assert states == ["queued", "queued", "failed"]
    job = job_of(acme, document)
    assert (job.error_code, job.error_message, job.error_remedy) == (
        "timeout",
        "It took too long.",
        "Split it.",
    )
    clock.forward(4000)
    assert jobs.claim(clock=clock) is None


def test_a_protected_file_is_not_tried_again(acme: Organization) -> None:
    document = upload(acme)
    lease = jobs.claim(clock=Clock())
    assert lease is not None
    lease.fail(code="encrypted", message="Protected.", remedy="Remove the password.")
    assert job_of(acme, document).status == "failed"


def test_retry_queues_a_failed_job_and_nothing_else(acme: Organization) -> None:
    document = upload(acme)
    assert not jobs.retry(organization=acme, document=document), "it has not failed"
    lease = jobs.claim(clock=Clock())
    assert lease is not None
    lease.fail(code="encrypted", message="Protected.", remedy="Remove the password.")
    assert jobs.retry(organization=acme, document=document)
    job = job_of(acme, document)
    assert (job.status, job.attempts, job.error_code) == ("queued", 0, "")


def test_a_cancelled_job_stops_its_worker_at_the_next_step(acme: Organization) -> None:
    document = upload(acme)
    clock = Clock()
    lease = jobs.claim(clock=clock)
    assert lease is not None
    assert jobs.cancel(organization=acme, document=document) == 1
    with pytest.raises(LeaseLost):
        lease.renew(stage="embedding")
    clock.forward(4000)
    assert jobs.claim(clock=clock) is None
