"""The embedded worker: a thread that takes wake-ups from files, and the sweeper that needs none."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import current_app

from ingestion import jobs, worker
from search.models import Chunk
from tenants.models import Organization
from tenants.scope import tenant_scope
from tests.ingestion.corpus_of_acme import job_of, upload
from tests.ingestion.ready_for_work import models, storage

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("models")]
__all__ = ["models", "storage"]


@pytest.fixture
def queue() -> None:
    """An empty queue, so that no wake-up of another test is heard."""
    folder = Path(current_app.conf.broker_transport_options["data_folder_in"])
    for message in folder.iterdir():
        message.unlink()


@pytest.fixture
def start(queue: None) -> Iterator[Callable[[], worker.EmbeddedWorker]]:
    started: list[worker.EmbeddedWorker] = []

    def begin() -> worker.EmbeddedWorker:
        started.append(worker.start_embedded_worker())
        return started[-1]

    yield begin
    for each in started:
        assert each.stop(timeout=60)


def becomes(organization: Organization, document: Any, status: str, seconds: float = 90) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if job_of(organization, document).status == status:
            return True
        time.sleep(0.2)
    return False


def test_a_file_uploaded_beside_a_running_worker_is_woken_by_a_message(
    acme: Organization, start: Callable[[], Any], settings: Any
) -> None:
    settings.ENV = settings.ENV.model_copy(update={"sweep_seconds": 3600})
    start()
    time.sleep(2)  # the first sweep is over, the next one an hour away
    document = upload(acme)
    assert becomes(acme, document, "ready")


def test_a_job_whose_message_was_lost_is_found_by_the_sweeper(
    acme: Organization, start: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as silent:
        silent.setattr(jobs, "wake_workers", lambda count=1: None)
        document = upload(acme)
    start()
    assert becomes(acme, document, "ready")


def test_a_job_that_was_in_work_when_the_process_died_goes_on_at_the_next_start(
    acme: Organization, start: Callable[[], Any]
) -> None:
    document = upload(acme)
    dead = jobs.claim()
    assert dead is not None
    dead.renew(stage="parsing", seconds=3600)
    start()
    assert becomes(acme, document, "ready")
    with tenant_scope(acme):
        assert Chunk.objects.count() > 0


def test_one_bad_file_does_not_stop_the_others(acme: Organization, start: Callable[[], Any]) -> None:
    bad = upload(acme, "bad.pdf", b"%PDF-1.4 nothing else")
    good = upload(acme)
    start()
    assert becomes(acme, good, "ready")
    assert becomes(acme, bad, "failed")


def test_a_stopped_worker_can_be_started_again(acme: Organization, start: Callable[[], Any]) -> None:
    first = start()
    assert first.stop(timeout=60)
    document = upload(acme)
    start()
    assert becomes(acme, document, "ready")


def test_a_job_that_waits_for_its_back_off_is_taken_when_it_is_due(
    acme: Organization, start: Callable[[], Any], settings: Any
) -> None:
    settings.ENV = settings.ENV.model_copy(update={"sweep_seconds": 3600})
    document = upload(acme)
    lease = jobs.claim()
    assert lease is not None
    lease.put_back(seconds=3)
    start()
    assert becomes(acme, document, "ready")


def test_a_broker_that_is_down_does_not_refuse_an_upload(
    acme: Organization, queue: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ingestion.tasks import wake_up

    def down(**_: Any) -> None:
        raise OSError("no queue")

    monkeypatch.setattr(wake_up, "apply_async", down)
    document = upload(acme)
    assert job_of(acme, document).status == "queued"
