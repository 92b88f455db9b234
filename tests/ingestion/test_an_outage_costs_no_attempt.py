"""An index or a storage that is away for half a minute says nothing about the files: they are ready once it is back."""

from __future__ import annotations

import os
import signal
import warnings
from collections.abc import Iterator
from typing import Any

import pytest

from ingestion import pipeline
from ingestion.leases import MAX_INTERRUPTIONS
from search import reindex
from search.index import close_all
from search.index.shard_process import ShardProcess
from search.models import Document
from tenants.models import Organization
from tests.ingestion.bucket_for_work import bucket, server
from tests.ingestion.corpus_of_acme import Clock, job_of, set_job, upload
from tests.ingestion.ready_for_work import storage
from tests.ingestion.servers_that_leave import Server
from tests.ingestion.words_for_work import words
from tests.production.qdrant_double import QdrantDouble, handler

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("words")]
__all__ = ["bucket", "server", "storage", "words"]
KEY = "only-for-this-test"


@pytest.fixture
def index_server(storage: Any, settings: Any) -> Iterator[Server]:
    """A double of a Qdrant server, which is there, as the index of the product."""
    server = Server(handler(QdrantDouble(), KEY))
    server.come()
    address = f"http://127.0.0.1:{server.port}"
    settings.ENV = settings.ENV.model_copy(update={"qdrant_url": address, "qdrant_api_key": KEY})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield server
        close_all()
    server.leave()


def half_a_minute(clock: Clock) -> None:
    for _ in range(30):
        pipeline.work_until_idle(clock=clock)
        clock.forward(1)


def is_ready_after(away: Server, acme: Organization, document: Document, clock: Clock, code: str) -> None:
    away.leave()
    half_a_minute(clock)
    job = job_of(acme, document)
    assert (job.status, job.attempts, job.error_code) == ("queued", 0, code)
    assert 2 <= job.interruptions <= 5, "the pause between tries grows"
    assert job.error_message.endswith("does not answer.")
    away.come()
    clock.forward(60)
    pipeline.work_until_idle(clock=clock)
    job = job_of(acme, document)
    assert (job.status, job.attempts, job.error_code) == ("ready", 0, "")
    found = reindex.audit(acme)
    assert found.clean
    assert found.points == found.rows > 0


def test_the_index_server_is_away(acme: Organization, index_server: Server) -> None:
    clock = Clock()
    upload(
        acme, "first.txt", b"The boiler is in hall one."
    )  # its collection is there, and connections are open
    pipeline.work_until_idle(clock=clock)
    is_ready_after(index_server, acme, upload(acme), clock, "index_away")


def test_the_bucket_is_away(acme: Organization, server: Server) -> None:
    is_ready_after(server, acme, upload(acme), Clock(), "storage_away")


@pytest.mark.parametrize(("kills", "interruptions"), [(1, 0), (2, 1)])
def test_the_process_of_the_embedded_index_is_killed(
    acme: Organization, settings: Any, monkeypatch: pytest.MonkeyPatch, kills: int, interruptions: int
) -> None:
    settings.ENV = settings.ENV.model_copy(update={"index_process": True})
    start, left = ShardProcess._start, [None] * kills

    def start_and_kill(self: ShardProcess) -> Any:
        connection = start(self)
        if left:
            left.pop()
            assert self.pid is not None
            os.kill(self.pid, signal.SIGKILL)
        return connection

    monkeypatch.setattr(ShardProcess, "_start", start_and_kill)
    document, clock = upload(acme), Clock()
    pipeline.work_until_idle(clock=clock)
    clock.forward(1)
    pipeline.work_until_idle(clock=clock)
    job = job_of(acme, document)
    assert (job.attempts, job.interruptions) == (0, interruptions)
    assert job.status == ("queued" if interruptions else "ready")
    clock.forward(10)
    pipeline.work_until_idle(clock=clock)
    assert job_of(acme, document).status == "ready"
    assert reindex.audit(acme).clean


def test_an_outage_that_does_not_end_is_named_as_the_reason(acme: Organization, index_server: Server) -> None:
    document, clock = upload(acme), Clock()
    set_job(acme, document, interruptions=MAX_INTERRUPTIONS - 1, furthest=2**40)
    index_server.leave()
    for _ in range(2):
        pipeline.work_until_idle(clock=clock)
        clock.forward(1)
    job = job_of(acme, document)
    assert (job.status, job.error_code) == ("failed", "index_away")
    assert "index" in job.error_message


def test_a_server_that_refuses_is_no_outage(acme: Organization, index_server: Server, settings: Any) -> None:
    settings.ENV = settings.ENV.model_copy(update={"qdrant_api_key": "wrong"})
    document = upload(acme)
    pipeline.work_until_idle(clock=Clock())
    job = job_of(acme, document)
    assert (job.attempts, job.interruptions, job.error_code) == (1, 0, "index_failed")
