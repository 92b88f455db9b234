"""A command does its work where the index is free, and asks the running product for it where it is not."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connections
from django.utils import timezone

from search import maintenance
from search.index import claim, close_all
from search.index.errors import IndexClosed
from search.index.lock import IndexLock
from search.models import MaintenanceJob
from tenants.models import Organization

Status = MaintenanceJob.Status


@pytest.fixture
def product(settings: Any) -> Iterator[IndexLock]:
    """Another process that holds the index, as the lock shows it."""
    lock = IndexLock(Path(settings.VAR) / "index" / "lock")
    lock.acquire()
    yield lock
    lock.release()


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maintenance, "LOOK_SECONDS", 0.02)


@pytest.fixture
def acts(monkeypatch: pytest.MonkeyPatch) -> dict[str, maintenance.Act]:
    """What may be asked for, in this test alone."""
    acts: dict[str, maintenance.Act] = dict(maintenance._acts)
    monkeypatch.setattr(maintenance, "_acts", acts)
    return acts


def works_beside(act: Callable[[], object]) -> threading.Thread:
    """The product's thread: calls ``act`` until it did something."""

    def run() -> None:
        try:
            deadline = time.monotonic() + 20
            while not act() and time.monotonic() < deadline:
                time.sleep(0.02)
        finally:
            connections.close_all()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


@pytest.mark.django_db
def test_where_nothing_runs_the_command_takes_the_index_itself(acme: Organization) -> None:
    out = StringIO()
    call_command("reindex", stdout=out)
    assert out.getvalue() == "acme: 0 passages\n"
    assert not MaintenanceJob.objects.exists()
    claim()  # the command gave the lock back
    close_all()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("status", [0, 3])
def test_where_the_product_runs_its_lines_and_its_exit_status_are_the_commands(
    product: IndexLock, acts: dict[str, maintenance.Act], status: int
) -> None:
    def act(arguments: dict[str, Any], write: maintenance.Write) -> int:
        write(f"organisation {arguments['organization']}")
        write("second line")
        return status

    acts["reindex"] = act
    thread = works_beside(maintenance.work_on_next)
    said: list[str] = []
    assert maintenance.run("reindex", {"organization": "acme"}, said.append) == status
    thread.join()
    assert said == ["organisation acme", "second line"]
    job = MaintenanceJob.objects.get()
    assert job.status == (Status.FAILED if status else Status.DONE)


@pytest.mark.django_db(transaction=True)
def test_an_act_that_fails_ends_the_command_with_its_error(
    product: IndexLock, acts: dict[str, maintenance.Act]
) -> None:
    def act(arguments: dict[str, Any], write: maintenance.Write) -> int:
        raise RuntimeError("no space")

    acts["reindex"] = act
    thread = works_beside(maintenance.work_on_next)
    out = StringIO()
    with pytest.raises(CommandError) as failed:
        call_command("reindex", stdout=out, stderr=StringIO())
    thread.join()
    assert failed.value.returncode == 1
    assert "no space" in out.getvalue()


@pytest.mark.django_db
def test_where_the_product_ends_the_command_does_the_work_itself(
    acme: Organization, product: IndexLock
) -> None:
    timer = threading.Timer(0.3, product.release)
    timer.start()
    said: list[str] = []
    assert maintenance.run("reindex", {"organization": None}, said.append) == 0
    timer.join()
    assert said == ["acme: 0 passages"]


@pytest.mark.django_db
def test_a_job_of_a_crashed_product_is_taken_over_three_times_at_most(
    acts: dict[str, maintenance.Act],
) -> None:
    done: list[str] = []

    def act(arguments: dict[str, Any], write: maintenance.Write) -> int:
        done.append("once")
        return 0

    acts["reindex"] = act
    silent = timezone.now() - timedelta(minutes=1)
    crashed = {"act": "reindex", "status": Status.RUNNING, "token": uuid.uuid4(), "heartbeat_at": silent}
    again = MaintenanceJob.objects.create(**crashed, attempts=2)
    hopeless = MaintenanceJob.objects.create(**crashed, attempts=3)
    assert [maintenance.work_on_next() for _ in range(3)] == [True, True, False]
    again.refresh_from_db()
    hopeless.refresh_from_db()
    assert (again.status, again.exit_status, done) == (Status.DONE, 0, ["once"])
    assert (hopeless.status, hopeless.exit_status) == (Status.FAILED, 1)
    assert "Interrupted 3 times" in hopeless.output


@pytest.mark.django_db
def test_a_job_whose_product_stops_waits_for_the_next_one(acts: dict[str, maintenance.Act]) -> None:
    job = maintenance.queue("reindex", {})

    def act(arguments: dict[str, Any], write: maintenance.Write) -> int:
        raise IndexClosed("The index was closed.")

    acts["reindex"] = act
    assert maintenance.work_on_next()
    job.refresh_from_db()
    assert (job.status, job.exit_status) == (Status.RUNNING, None)


@pytest.mark.django_db
def test_a_job_in_hand_is_left_alone_and_who_lost_one_writes_nothing(
    acts: dict[str, maintenance.Act],
) -> None:
    job = maintenance.queue("reindex", {})

    def act(arguments: dict[str, Any], write: maintenance.Write) -> int:
        assert not maintenance.work_on_next()
        MaintenanceJob.objects.filter(id=job.id).update(token=uuid.uuid4(), output="another's")
        write("mine")
        return 0

    acts["reindex"] = act
    assert maintenance.work_on_next()
    job.refresh_from_db()
    assert (job.output, job.exit_status) == ("another's", None)


@pytest.mark.django_db
def test_the_same_job_waits_once() -> None:
    first = maintenance.queue("reindex", {"organization": "acme"})
    assert maintenance.queue("reindex", {"organization": "acme"}).id == first.id
    assert maintenance.queue("reindex", {"organization": "globex"}).id != first.id
