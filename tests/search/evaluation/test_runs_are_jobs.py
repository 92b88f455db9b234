"""A run waits for the product, is done once, and survives the process that did it; several questions are asked at once."""

from __future__ import annotations

import threading
from datetime import timedelta
from pathlib import Path

import pytest
from django.utils import timezone

from inference.runtime import Runtime
from ingestion.evaluating import IngestionPublisher
from search.evaluation import jobs
from search.evaluation.corpora import organization_of
from search.evaluation.jobs import AlreadyRuns, EvaluationThread
from search.evaluation.models import EvaluationResult, EvaluationRun
from tenants.models import Organization
from tenants.scope import tenant_scope
from tests.search.doubles import ScriptedGenerator

pytestmark = pytest.mark.django_db(transaction=True)


def queue(cities: Path) -> EvaluationRun:
    asked = {"source": str(cities), "threads": 2}
    return jobs.queue(organization_of("cities"), suite="cities", options=asked)


def change(run: EvaluationRun, **values: object) -> None:
    with tenant_scope(run.organization):
        EvaluationRun.objects.filter(id=run.id).update(**values)


def test_a_run_in_the_queue_is_taken_once_and_done(
    cities: Path, models: Runtime, publisher: IngestionPublisher
) -> None:
    queue(cities)
    taken = jobs.claim_next()
    assert taken is not None
    assert jobs.claim_next() is None
    done = jobs.work(taken, models=models, publisher=publisher)
    assert (done.status, done.metrics["questions"]) == ("done", 3)


def test_only_one_run_of_an_organisation_is_under_way(cities: Path, acme: Organization) -> None:
    queue(cities)
    with pytest.raises(AlreadyRuns):
        queue(cities)
    jobs.queue(acme, suite="own questions", options={})
    assert jobs.claim_next() is not None
    assert jobs.claim_next() is None, "one at a time, whoever asked"


def test_a_run_whose_process_died_is_begun_again_and_then_given_up(cities: Path) -> None:
    run = queue(cities)
    for _ in range(jobs.MOST_ATTEMPTS):
        assert jobs.claim_next() is not None
        change(run, heartbeat_at=timezone.now() - jobs.SILENT_FOR - timedelta(seconds=1))
        jobs.claim_next() if jobs.look_at(run).attempts == jobs.MOST_ATTEMPTS else None
        if jobs.look_at(run).status == "running":
            assert jobs.claim_next() is None, "this look puts it back, the next takes it"
    run = jobs.look_at(run)
    assert (run.status, run.error) == ("failed", "It was interrupted.")


def test_a_run_of_a_command_that_died_is_given_up(cities: Path) -> None:
    run = jobs.begin_here(organization_of("cities"), suite="cities", options={"source": str(cities)})
    change(run, heartbeat_at=timezone.now() - jobs.SILENT_FOR - timedelta(seconds=1))
    assert jobs.claim_next() is None
    assert jobs.look_at(run).status == "failed"


def test_who_lost_a_run_keeps_nothing_more(
    cities: Path, models: Runtime, publisher: IngestionPublisher, generator: ScriptedGenerator
) -> None:
    queue(cities)
    run = jobs.claim_next()
    assert run is not None

    def lose(prompt: str) -> str:
        change(run, token=None)
        return "Nothing."

    generator.reply = lose
    after = jobs.work(run, models=models, publisher=publisher)
    assert after.status == "running"
    with tenant_scope(run.organization):
        assert not EvaluationResult.objects.exists()


def test_a_process_that_ends_puts_its_run_back(
    cities: Path, models: Runtime, publisher: IngestionPublisher
) -> None:
    queue(cities)
    run = jobs.claim_next()
    assert run is not None
    after = jobs.work(run, models=models, publisher=publisher, stopping=lambda: True)
    assert (after.status, after.attempts, after.token) == ("queued", 0, None)


def test_the_thread_of_the_product_does_what_waits(
    cities: Path, models: Runtime, publisher: IngestionPublisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "LOOK_SECONDS", 0.05)
    run = queue(cities)
    thread = EvaluationThread(publisher)
    thread.start()
    try:
        assert jobs.wait_for(run, lambda line: None).status == "done"
    finally:
        thread.stop()


def test_several_questions_are_asked_at_once(
    cities: Path, models: Runtime, publisher: IngestionPublisher, generator: ScriptedGenerator
) -> None:
    together = threading.Barrier(2, timeout=20)

    def meet(prompt: str) -> str:
        if "capital of" in prompt.rpartition("Question: ")[2]:
            together.wait()
        return "Nothing."

    generator.reply = meet
    queue(cities)
    run = jobs.claim_next()
    assert run is not None
    assert jobs.work(run, models=models, publisher=publisher).status == "done"
