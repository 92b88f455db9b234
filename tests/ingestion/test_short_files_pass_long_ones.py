"""While a long document is embedded the next file is read, and a short one does not wait for the long one's end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inference import runtime
from ingestion import ahead, child, jobs, pipeline
from ingestion.guards import IngestionFailure, Limits
from ingestion.parsed import ParsedDocument, ParsedPage
from tenants.models import Organization
from tests.ingestion.corpus_of_acme import job_of, upload
from tests.ingestion.ready_for_work import storage

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("storage")]
__all__ = ["storage"]

LONG = b"long " * 40_000


class SlowEmbedder:
    """Embeds a passage at a time; ``before`` is called with how many are done."""

    name, dimension, max_tokens = "slow", 384, 256

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.before: Callable[[int, int], None] = lambda done, total: None

    def count_tokens(self, text: str) -> int:
        return len(text.split())

    def embed_query(self, text: str) -> Any:
        return self.embed_passages([text])[0]

    def embed_passages(self, texts: Any, *, on_batch: Any = None) -> Any:
        for done in range(1, len(texts) + 1):
            self.before(done, len(texts))
            if on_batch is not None:
                on_batch(done)
        return np.full((len(texts), 384), 384**-0.5, dtype=np.float32)


@pytest.fixture
def slow(embedder: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[SlowEmbedder]:
    """An embedder whose progress a test watches, files that are read at once, and no pause between claims."""

    def read(path: Path, *, filename: str, limits: Limits, **others: Any) -> ParsedDocument:
        return ParsedDocument("text/plain", (ParsedPage(1, path.read_text()),))

    monkeypatch.setattr(child, "parse_file", read)
    monkeypatch.setattr(ahead, "ASK_SECONDS", 0.0)
    slow = SlowEmbedder(embedder.tokenizer)
    runtime.install(runtime.Runtime.of(embedder=slow))
    yield slow
    runtime.uninstall()


def test_a_short_file_that_comes_later_is_ready_first(acme: Organization, slow: SlowEmbedder) -> None:
    long = upload(acme, "long.txt", LONG)
    states: list[str] = []

    def watch(done: int, total: int) -> None:
        if total > 1 and done == 1:
            watch.short = upload(acme, "short.txt", b"a short text")  # type: ignore[attr-defined]
        if total > 1:
            time.sleep(0.01)  # the reader of the short one is another thread
        if total > 1 and done == total:
            states.append(job_of(acme, watch.short).status)  # type: ignore[attr-defined]

    slow.before = watch
    assert pipeline.work_until_idle() == 2
    assert states == ["ready"]
    assert job_of(acme, long).status == "ready"


def test_a_long_file_does_not_pass(acme: Organization, slow: SlowEmbedder) -> None:
    upload(acme, "first.txt", LONG)
    second = upload(acme, "second.txt", LONG.replace(b"long", b"more"))
    seen: list[str] = []
    slow.before = lambda done, total: seen.append(job_of(acme, second).stage) if done == total else None
    assert pipeline.work_until_idle() == 2
    assert seen == ["parsing", "embedding"]  # read while the first was embedded, and no further


def test_a_file_that_fails_while_it_passes_fails_alone(
    acme: Organization, slow: SlowEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = child.parse_file

    def read(path: Path, *, filename: str, limits: Limits, **others: Any) -> ParsedDocument:
        if filename == "bad.txt":
            raise IngestionFailure("malformed")
        return whole(path, filename=filename, limits=limits, **others)

    monkeypatch.setattr(child, "parse_file", read)
    long, bad = upload(acme, "long.txt", LONG), upload(acme, "bad.txt", b"bad")
    pipeline.work_until_idle()
    assert (job_of(acme, long).status, job_of(acme, bad).status) == ("ready", "failed")
    assert job_of(acme, bad).error_code == "malformed"


def test_a_worker_that_stops_returns_what_it_reads_ahead(acme: Organization, slow: SlowEmbedder) -> None:
    documents = [upload(acme, f"{n}.txt", LONG + b"%d" % n) for n in range(2)]
    stopping: list[bool] = []
    slow.before = lambda done, total: stopping.append(True) if done == total // 2 else None
    pipeline.work_until_idle(stopping=lambda: bool(stopping))
    found = [job_of(acme, document) for document in documents]
    assert [job.status for job in found] == ["queued", "queued"]
    assert [(job.interruptions, job.attempts, job.lease_token) for job in found] == [(0, 0, None)] * 2


def test_a_file_that_is_cancelled_while_it_waits_is_left_alone(
    acme: Organization, slow: SlowEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ahead, "KEEP_SECONDS", 0.0)
    long = upload(acme, "long.txt", LONG)
    second = upload(acme, "second.txt", LONG.replace(b"long", b"more"))

    def cancel_in_the_middle(done: int, total: int) -> None:
        if done == total // 2:
            jobs.cancel(organization=acme, document=second)

    slow.before = cancel_in_the_middle
    assert pipeline.work_until_idle() == 1
    assert (job_of(acme, long).status, job_of(acme, second).status) == ("ready", "cancelled")


def test_nothing_is_read_ahead_where_the_setting_says_so(
    acme: Organization, slow: SlowEmbedder, settings: Any
) -> None:
    settings.ENV = settings.ENV.model_copy(update={"read_ahead": 0})
    upload(acme, "first.txt", LONG)
    second = upload(acme, "second.txt", b"a short text")
    seen: list[str] = []
    slow.before = lambda done, total: seen.append(job_of(acme, second).status) if total > 1 else None
    assert pipeline.work_until_idle() == 2
    assert set(seen) == {"queued"}
