"""What a proxy or an overloaded service answers in place of the models says nothing about the file."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any

import httpx
import pytest

from inference import runtime, wire
from inference.engine.remote.client import ask, checked
from inference.errors import (
    EngineStopped,
    InferenceError,
    NotReady,
    Overloaded,
    ServiceAway,
)
from ingestion import pipeline
from ingestion.leases import MAX_INTERRUPTIONS
from tenants.models import Organization
from tests.ingestion.corpus_of_acme import Clock, job_of, set_job, upload
from tests.ingestion.ready_for_work import storage
from tests.ingestion.servers_that_leave import Server
from tests.ingestion.short_files import CountingEmbedder, read_ahead

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("storage")]
__all__ = ["storage"]


@pytest.fixture
def failing(embedder: Any) -> Iterator[Callable[[Exception | None], None]]:
    """Sets what the embedder raises."""
    fails: list[Exception | None] = [None]

    def fail() -> None:
        if fails[0] is not None:
            raise fails[0]

    models = CountingEmbedder(embedder.tokenizer)
    models.meanwhile = fail
    runtime.install(runtime.Runtime.of(embedder=models))
    yield lambda error: fails.__setitem__(0, error)
    runtime.uninstall()


@pytest.mark.parametrize("error", [ServiceAway("502"), EngineStopped("died")], ids=["proxy", "engine"])
def test_it_is_an_interruption(acme: Organization, failing: Any, error: Exception) -> None:
    document, clock = upload(acme), Clock()
    failing(error)
    for _ in range(2):
        pipeline.work_until_idle(clock=clock)
        clock.forward(1)
    job = job_of(acme, document)
    assert (job.status, job.attempts, job.error_code) == ("queued", 0, "models_away")
    assert job.interruptions >= 1
    failing(None)
    clock.forward(60)
    pipeline.work_until_idle(clock=clock)
    assert (job_of(acme, document).status, job_of(acme, document).error_code) == ("ready", "")


def test_files_that_go_together_are_interrupted_together(acme: Organization, failing: Any) -> None:
    documents = [upload(acme, f"{n}.txt", b"words %d" % n) for n in range(3)]
    failing(ServiceAway("502"))
    with read_ahead() as (first, ahead):
        assert pipeline.work(first, ahead) == 3
    jobs = [job_of(acme, document) for document in documents]
    assert [(job.attempts, job.error_code) for job in jobs] == [(0, "models_away")] * 3


def test_one_that_breaks_it_off_again_and_again_fails_in_the_end(acme: Organization, failing: Any) -> None:
    document, clock = upload(acme), Clock()
    set_job(acme, document, interruptions=MAX_INTERRUPTIONS - 1, furthest=2**40)
    failing(ServiceAway("502"))
    for _ in range(2):
        pipeline.work_until_idle(clock=clock)
        clock.forward(1)
    job = job_of(acme, document)
    assert (job.status, job.error_code) == ("failed", "models_away")


def test_a_service_with_too_much_to_do_counts_nothing(acme: Organization, failing: Any) -> None:
    document, clock = upload(acme), Clock()
    failing(Overloaded("full", retry_after_s=7))
    pipeline.work_until_idle(clock=clock)
    job = job_of(acme, document)
    assert (job.status, job.attempts, job.interruptions) == ("queued", 0, 0)
    assert job.not_before is not None
    assert (job.not_before - clock()).total_seconds() == 7


def test_an_error_of_the_model_itself_is_an_attempt(acme: Organization, failing: Any) -> None:
    document = upload(acme)
    failing(InferenceError("a defect"))
    pipeline.work_until_idle(clock=Clock())
    assert (job_of(acme, document).attempts, job_of(acme, document).error_code) == (1, "embedding_failed")


@pytest.mark.parametrize("status", [502, 503, 504])
def test_a_proxys_page_is_told_from_our_own_words(status: int) -> None:
    with pytest.raises(ServiceAway, match=str(status)):
        checked(httpx.Response(status, text="<html>Bad gateway</html>"))
    with pytest.raises(ServiceAway):
        checked(httpx.Response(status, json={"error": "upstream"}))


@pytest.mark.parametrize("error", [Overloaded("full"), NotReady("loading"), EngineStopped("died")])
def test_our_own_words_keep_their_meaning(error: InferenceError) -> None:
    body = json.dumps(wire.error_to_json(error))
    with pytest.raises(type(error)) as raised:
        checked(httpx.Response(error.status, text=body))
    assert type(raised.value) is type(error)


def test_a_connection_that_ends_in_the_midst_is_told_from_none() -> None:
    class Dies(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.connection.close()

        def log_message(self, format: str, *args: Any) -> None: ...

    server = Server(Dies)
    server.come()
    with httpx.Client(base_url=f"http://127.0.0.1:{server.port}") as client:
        with pytest.raises(ServiceAway):
            ask(client, "/v1/embeddings", {})
        server.leave()
        with pytest.raises(NotReady) as raised:
            ask(client, "/v1/embeddings", {})
        assert not isinstance(raised.value, ServiceAway)
