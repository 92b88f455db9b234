"""A database that fails in the middle of a job says nothing about the file: it is read again."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import InterfaceError, OperationalError

from ingestion import pipeline
from ingestion.leases import Lease
from tenants.models import Organization
from tests.ingestion.corpus_of_acme import Clock, job_of, upload
from tests.ingestion.ready_for_work import storage
from tests.ingestion.words_for_work import words

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("words")]
__all__ = ["storage", "words"]


@pytest.mark.parametrize("error", [OperationalError, InterfaceError])
def test_it_counts_as_an_interruption(
    acme: Organization, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def away(*_: Any) -> None:
        raise error("the connection is closed")

    document, clock = upload(acme), Clock()
    with monkeypatch.context() as broken:
        broken.setattr(pipeline, "write_rows", away)
        pipeline.work_until_idle(clock=clock)
    clock.forward(1)
    pipeline.work_until_idle(clock=clock)
    job = job_of(acme, document)
    assert (job.status, job.attempts, job.interruptions) == ("queued", 0, 1)
    clock.forward(10)
    pipeline.work_until_idle(clock=clock)
    assert job_of(acme, document).status == "ready"


def test_a_database_that_stays_away_leaves_the_job_to_its_lease(
    acme: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any, **__: Any) -> None:
        raise OperationalError("the connection is closed")

    document, clock = upload(acme), Clock()
    with monkeypatch.context() as broken:
        broken.setattr(pipeline, "write_rows", away)
        broken.setattr(Lease, "let_go", away)
        pipeline.work_until_idle(clock=clock)
    assert job_of(acme, document).status == "processing"
    clock.forward(3600)
    pipeline.work_until_idle(clock=clock)
    clock.forward(10)
    pipeline.work_until_idle(clock=clock)
    assert job_of(acme, document).status == "ready"
