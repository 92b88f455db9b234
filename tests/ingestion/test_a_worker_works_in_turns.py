"""A worker with a long queue comes back to its messages every minute, and messages that nobody came to do not pile up."""

from __future__ import annotations

import json
import time
from concurrent.futures import wait
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from celery import current_app
from django.conf import settings as django_settings

from ingestion import jobs, pipeline, sweeper, tasks
from ingestion.ahead import ReadAhead, Reading
from ingestion.jobs import Lease
from ingestion.models import IngestionJob
from ingestion.parsed import ParsedDocument
from tenants.models import Organization
from tenants.scope import tenant_scope
from tests.ingestion.corpus_of_acme import upload
from tests.ingestion.ready_for_work import storage

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("storage")]
__all__ = ["storage"]


class Work:
    """Takes the place of :func:`pipeline.work`: each job takes ``seconds``, and others are read in its midst."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, seconds: float) -> None:
        self.now, self.seconds, self.woken = 0.0, seconds, 0
        monkeypatch.setattr(pipeline, "work", self)
        clock = SimpleNamespace(monotonic=lambda: self.now)
        monkeypatch.setattr(pipeline, "time", clock)
        monkeypatch.setattr("ingestion.ahead.time", clock)
        monkeypatch.setattr(jobs, "wake_workers", self.wake)
        nothing = ParsedDocument("text/plain", ())
        monkeypatch.setattr("ingestion.child.parse_file", lambda *args, **named: nothing)
        monkeypatch.setattr(Reading, "short", property(lambda reading: reading.result.done()))

    def __call__(self, job: Lease | Reading, ahead: ReadAhead) -> int:
        lease = job.lease if isinstance(job, Reading) else job
        for _ in range(2):
            self.now += self.seconds / 2
            ahead.meanwhile(lease, lambda: None)
            wait([reading.result for reading in ahead._waiting])
        lease.hand_in()
        return 1

    def wake(self, count: int = 1) -> None:
        self.woken += count


@pytest.fixture
def queued(acme: Organization, monkeypatch: pytest.MonkeyPatch) -> Any:
    with monkeypatch.context() as silent:
        silent.setattr(jobs, "wake_workers", lambda count=1: None)
        for n in range(60):
            upload(acme, f"{n}.txt", f"Text {n}.".encode())

    def count(status: str = "queued") -> int:
        with tenant_scope(acme):
            return IngestionJob.objects.filter(status=status).count()

    return count


def test_a_turn_ends_after_a_minute_and_asks_for_another(
    queued: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = Work(monkeypatch, seconds=4)
    pipeline.work_for_a_turn()
    assert 60 <= work.now <= 120  # what is held, up to 32 short files, is done
    assert queued("ready") + queued() == 60  # nothing was put down half done
    assert work.woken == 1
    while queued():
        pipeline.work_for_a_turn()
    woken = work.woken
    pipeline.work_for_a_turn()
    assert work.woken == woken


def test_a_queue_of_long_files_ends_a_turn_too(queued: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    work = Work(monkeypatch, seconds=40)
    monkeypatch.setattr(Reading, "short", False)
    pipeline.work_for_a_turn()
    assert 60 <= work.now < 200
    assert queued("processing") == 0
    assert work.woken == 1


def test_a_file_that_takes_long_is_still_passed_when_its_turn_is_over(
    acme: Organization, queued: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    Work(monkeypatch, seconds=400)
    pipeline.work_for_a_turn()
    assert queued("ready") >= 2


@pytest.fixture
def broker() -> Path:
    """The folder of messages, empty."""
    folder = Path(current_app.conf.broker_transport_options["data_folder_in"])
    for message in folder.iterdir():
        message.unlink()
    return folder


def test_no_message_depends_on_two_clocks(broker: Path) -> None:
    jobs.wake_workers()
    (sent,) = broker.iterdir()
    headers = json.loads(sent.read_text())["headers"]
    assert (headers["expires"], headers["eta"]) == (None, None)
    asked: dict[str, Any] = django_settings.CELERY_BEAT_SCHEDULE["sweep"]
    assert "options" not in asked


def test_a_sweep_sends_only_the_wake_ups_that_are_missing(queued: Any, broker: Path) -> None:
    assert jobs.messages_waiting() == 0
    jobs.wake_workers(3)
    assert jobs.messages_waiting() == 3
    assert sweeper.sweep() == sweeper.MOST_WAKE_UPS - 3
    assert sweeper.sweep() == 0
    assert jobs.messages_waiting() == len(list(broker.iterdir())) == sweeper.MOST_WAKE_UPS


def test_a_broker_that_is_away_says_nothing(queued: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: Any, **__: Any) -> Any:
        raise OSError("no broker")

    app: Any = current_app
    monkeypatch.setattr(app._get_current_object(), "connection_for_write", away)
    assert jobs.messages_waiting() == 0


@pytest.fixture
def swept(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows with each sweep that is made, which sends one wake-up."""
    made: list[int] = []

    def sweep() -> int:
        made.append(1)
        return 1

    monkeypatch.setattr(sweeper, "sweep", sweep)
    monkeypatch.setattr(sweeper, "_swept_at", float("-inf"))
    return made


def test_of_many_sweeps_one_is_made(swept: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    assert [tasks.sweep() for _ in range(5)] == [1, 0, 0, 0, 0]
    monkeypatch.setattr(sweeper, "_swept_at", time.monotonic() - django_settings.ENV.sweep_seconds)
    assert tasks.sweep() == 1
    assert len(swept) == 2


def test_a_worker_that_goes_from_wake_up_to_wake_up_sweeps_between(
    swept: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "work_for_a_turn", lambda: 0)
    assert (tasks.wake_up(), len(swept)) == (0, 0)
    monkeypatch.setattr(pipeline, "work_for_a_turn", lambda: 3)
    assert [tasks.wake_up() for _ in range(3)] == [3, 3, 3]
    assert len(swept) == 1
