"""Short files of one organisation share an embedding call and an index write, and nothing else."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from inference import runtime
from ingestion import child, chunking, jobs, pipeline
from ingestion.guards import IngestionFailure, Limits
from ingestion.models import IngestionJob, QueueShare
from ingestion.parsed import ParsedDocument, ParsedPage
from search import corpus, reindex
from search.index.errors import IndexFailure
from search.models import Chunk
from tenants.models import Organization
from tenants.scope import tenant_scope
from tests.ingestion.corpus_of_acme import job_of, upload
from tests.ingestion.ready_for_work import storage
from tests.ingestion.short_files import CountingEmbedder, read_ahead

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("storage")]
__all__ = ["storage"]

FILES = 5


@pytest.fixture
def counting(embedder: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[CountingEmbedder]:
    def read(path: Path, *, filename: str, limits: Limits, **others: Any) -> ParsedDocument:
        if filename.startswith("bad"):
            raise IngestionFailure("malformed")
        return ParsedDocument("text/plain", (ParsedPage(1, path.read_text()),))

    monkeypatch.setattr(child, "parse_file", read)
    counting = CountingEmbedder(embedder.tokenizer)
    runtime.install(runtime.Runtime.of(embedder=counting))
    yield counting
    runtime.uninstall()


def upload_some(acme: Organization, names: list[str] | None = None) -> list[Any]:
    return [
        upload(acme, name, f"words of {name}".encode())
        for name in names or [f"{n}.txt" for n in range(FILES)]
    ]


def states(acme: Organization, documents: list[Any]) -> list[str]:
    return [job_of(acme, document).status for document in documents]


def test_they_are_embedded_in_one_call_and_each_is_found(
    acme: Organization, counting: CountingEmbedder
) -> None:
    documents = upload_some(acme)
    with read_ahead() as (first, ahead):
        assert pipeline.work(first, ahead) == FILES
    assert [len(texts) for texts in counting.calls] == [FILES]
    assert states(acme, documents) == ["ready"] * FILES
    found = reindex.audit(acme)
    assert found.clean
    assert not found.unpublished
    assert found.points == FILES
    with tenant_scope(acme):
        for document in documents:
            document.refresh_from_db()
            (chunk,) = Chunk.objects.filter(version=document.published)
            assert chunk.text == f"words of {document.filename}"


def test_one_that_cannot_be_read_costs_itself_only(acme: Organization, counting: CountingEmbedder) -> None:
    documents = upload_some(acme, ["0.txt", "1.txt", "bad.txt", "3.txt"])
    with read_ahead() as (first, ahead):
        assert pipeline.work(first, ahead) == 3
        bad = ahead.next()
        assert bad is not None
        pipeline.work(bad, ahead)
    assert states(acme, documents) == ["ready", "ready", "failed", "ready"]
    assert job_of(acme, documents[2]).error_code == "malformed"


def test_one_that_cannot_be_cut_costs_itself_only(
    acme: Organization, counting: CountingEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    documents = upload_some(acme)
    sound = chunking.chunk

    def cut(parsed: ParsedDocument, **others: Any) -> Any:
        if "2.txt" in parsed.pages[0].text:
            raise RuntimeError("a defect")
        return sound(parsed, **others)

    monkeypatch.setattr(pipeline, "chunk", cut)
    with read_ahead() as (first, ahead):
        pipeline.work(first, ahead)
    assert states(acme, documents) == ["ready", "ready", "queued", "ready", "ready"]
    assert job_of(acme, documents[2]).attempts == 1


def test_one_that_is_cancelled_meanwhile_is_not_published(
    acme: Organization, counting: CountingEmbedder
) -> None:
    documents = upload_some(acme)

    def cancel() -> None:
        jobs.cancel(organization=acme, document=documents[3])

    counting.meanwhile = cancel
    with read_ahead() as (first, ahead):
        pipeline.work(first, ahead)
    assert states(acme, documents) == ["ready", "ready", "ready", "cancelled", "ready"]
    assert reindex.audit(acme).points == FILES - 1


def test_one_that_is_taken_over_after_the_index_was_written_is_not_published(
    acme: Organization, counting: CountingEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    documents = upload_some(acme)
    sound = corpus.index_versions

    def index(organization: Organization, version_ids: Any, **others: Any) -> int:
        written = sound(organization, version_ids, **others)
        with tenant_scope(acme):
            IngestionJob.objects.filter(document=documents[1]).update(lease_token=uuid.uuid4())
        return written

    monkeypatch.setattr(corpus, "index_versions", index)
    with read_ahead() as (first, ahead):
        pipeline.work(first, ahead)
    assert states(acme, documents) == ["ready", "processing", "ready", "ready", "ready"]
    with tenant_scope(acme):
        documents[1].refresh_from_db()
        assert documents[1].published is None


def test_what_fails_together_is_done_one_by_one(
    acme: Organization, counting: CountingEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    documents = upload_some(acme)
    sound = corpus.index_versions

    def index(organization: Organization, version_ids: Any, **others: Any) -> int:
        if len(version_ids) > 1:
            raise IndexFailure("too much at once")
        return sound(organization, version_ids, **others)

    monkeypatch.setattr(corpus, "index_versions", index)
    with read_ahead() as (first, ahead):
        pipeline.work(first, ahead)
    assert states(acme, documents) == ["ready"] * FILES
    assert [job_of(acme, document).attempts for document in documents] == [0] * FILES
    assert [len(texts) for texts in counting.calls] == [FILES] + [1] * FILES


def test_a_worker_that_stops_returns_all_of_them(acme: Organization, counting: CountingEmbedder) -> None:
    documents = upload_some(acme)
    stopping: list[bool] = []
    with read_ahead() as (first, ahead):
        for each in [first, *ahead._waiting]:
            each.lease.stopping = lambda: bool(stopping)
        counting.meanwhile = lambda: stopping.append(True)
        pipeline.work(first, ahead)
    found = [job_of(acme, document) for document in documents]
    assert {(job.status, job.attempts, job.interruptions) for job in found} == {("queued", 0, 0)}


def test_organisations_are_never_mixed(
    acme: Organization, globex: Organization, counting: CountingEmbedder
) -> None:
    documents = upload_some(acme)
    theirs = upload(globex, "secret.txt", b"words of globex")
    assert pipeline.work_until_idle() == FILES + 1
    assert states(acme, documents) == ["ready"] * FILES
    assert job_of(globex, theirs).status == "ready"
    assert all(len({"globex" in text for text in texts}) == 1 for texts in counting.calls)


def test_they_pay_for_the_time_once(acme: Organization, counting: CountingEmbedder) -> None:
    upload_some(acme)
    counting.meanwhile = lambda: time.sleep(2)
    with read_ahead() as (first, ahead):
        pipeline.work(first, ahead)
    with tenant_scope(acme):
        assert 2.0 <= QueueShare.objects.get().service < 4.0


def test_together_they_are_no_longer_than_a_short_text(
    acme: Organization, counting: CountingEmbedder
) -> None:
    upload(acme, "first.txt", b"words " * 15_000)
    upload_some(acme, ["a.txt", "b.txt"])
    upload(acme, "last.txt", b"other " * 15_000)
    with read_ahead() as (first, ahead):
        assert pipeline.work(first, ahead) == 3
        assert [reading.version.document.filename for reading in ahead._waiting] == ["last.txt"]
