"""Rates and times left are what was measured; before there is a measure they are unknown, and said to be."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from uuid import UUID

import pytest
from django.test import Client

from ingestion import jobs, pace, progress
from ingestion.models import IngestionJob
from tenants.models import Organization
from tenants.scope import tenant_scope
from tests.ingestion.corpus_of_acme import Clock, upload
from tests.ingestion.long_queues import queue_files
from tests.ingestion.ready_for_work import storage

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("storage")]
__all__ = ["storage"]


def outlook(organization: Organization, clock: Clock, job_id: UUID) -> tuple[float | None, int | None]:
    with tenant_scope(organization):
        job = IngestionJob.objects.get(id=job_id)
        found = pace.outlook([job], clock=clock)
    return found.rate(job), found.eta_seconds(job)


def test_a_job_tells_its_rate_and_its_end_once_some_of_it_is_done(acme: Organization) -> None:
    queue_files(acme, 1)
    clock = Clock()
    lease = jobs.claim(clock=clock)
    assert lease is not None
    assert outlook(acme, clock, lease.job_id) == (None, None)
    clock.forward(30)
    lease.renew(stage="embedding", done=0, total=100)
    assert outlook(acme, clock, lease.job_id) == (None, None), "parsing tells nothing of embedding"
    clock.forward(10)
    lease.renew(stage="embedding", done=40, total=100)
    assert outlook(acme, clock, lease.job_id) == (4.0, 15)


def test_a_queue_tells_nothing_before_two_files_are_done_and_then_what_was_measured(
    acme: Organization, globex: Organization
) -> None:
    clock = Clock()
    queue_files(acme, 5, since=clock.now)
    queue_files(globex, 3, since=clock.now - timedelta(hours=2))
    for number in range(3):
        before = pace.queue_of(acme, clock=clock)
        assert (before.waiting, before.files_per_minute is None) == (5 - number, number < 2)
        finish_one(acme, clock, seconds=20)
    queue = pace.queue_of(acme, clock=clock)
    assert queue == pace.Queue(
        waiting=2, processing=0, files_per_minute=3.0, eta_seconds=40, oldest_waiting_seconds=60
    )
    assert pace.queue_of(globex, clock=clock).files_per_minute is None


def finish_one(organization: Organization, clock: Clock, *, seconds: float) -> None:
    """The organisation's next job, past the other's, done in ``seconds``."""
    clock.forward(seconds)
    with tenant_scope(organization):
        waiting = IngestionJob.objects.filter(status="queued").order_by("created_at", "id")
        job = waiting.first()
        assert job is not None
        IngestionJob.objects.filter(id=job.id).update(status="ready", ended_at=clock.now)


def test_the_time_of_a_queued_file_counts_those_before_it(acme: Organization) -> None:
    clock = Clock()
    queue_files(acme, 6, since=clock.now)
    for _ in range(2):
        finish_one(acme, clock, seconds=10)
    with tenant_scope(acme):
        waiting = IngestionJob.objects.filter(status="queued").order_by("created_at", "id")
        ids = list(waiting.values_list("id", flat=True))
    assert [outlook(acme, clock, id_)[1] for id_ in ids] == [10, 20, 30, 40]


def test_a_rest_is_no_slowness(acme: Organization) -> None:
    """Files that were done before the queue was last empty are no part of the measure."""
    clock = Clock()
    queue_files(acme, 2, since=clock.now)
    for _ in range(2):
        finish_one(acme, clock, seconds=1)
    clock.forward(500)
    queue_files(acme, 2, since=clock.now)
    clock.forward(5)
    assert pace.queue_of(acme, clock=clock).files_per_minute is None


def test_an_empty_queue_has_nothing_to_tell(acme: Organization) -> None:
    assert pace.queue_of(acme) == pace.Queue(0, 0, None, None, None)


def test_the_api_and_the_page_tell_the_queue(
    acme: Organization, globex: Organization, api: Callable[..., Client], bob_client: Client
) -> None:
    upload(acme)
    queue_files(globex, 3)
    body = api(acme).get("/api/v1/documents/queue").json()
    assert isinstance(body.pop("oldest_waiting_seconds"), int)
    assert body == {"waiting": 1, "processing": 0, "files_per_minute": None, "eta_seconds": None}
    line = bob_client.get("/o/acme/documents/queue").content.decode()
    assert "1 file on the way" in line
    assert "time unknown yet" in line
    assert "1 file on the way" in bob_client.get("/o/acme/documents/").content.decode()


@pytest.mark.parametrize(
    ("seconds", "words"), [(0, "about 1 s"), (59, "about 59 s"), (90, "about 2 min"), (7200, "about 2 h")]
)
def test_times_are_said_in_round_words(seconds: int, words: str) -> None:
    assert pace.duration(seconds) == words


def test_a_row_says_how_long_it_will_take(acme: Organization) -> None:
    document = upload(acme)
    row = progress.row(acme, document.id)
    assert row is not None
    assert (row.rate, row.eta_seconds, row.time_left) == (None, None, "")
