"""From an uploaded file to rows, points and one pointer; the same again leaves the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ingestion import chunking, jobs, pipeline, progress
from ingestion.publishing import chunk_id, storable
from search.index import open_index
from search.models import Chunk, Document, DocumentVersion, Page
from tenants.models import Organization
from tenants.scope import tenant_scope
from tests.ingestion.corpus_of_acme import Clock, job_of, set_job, upload
from tests.ingestion.ready_for_work import models, storage

pytestmark = pytest.mark.django_db
__all__ = ["models", "storage"]

LONG = b"\n\n".join(
    b"# Part %d\n\nParagraph %d tells about widget number %d, its colour, its weight and who is in charge."
    % (n, n, n)
    for n in range(12)
)


def chunks_of(organization: Organization, document: Document) -> list[Chunk]:
    with tenant_scope(organization):
        return list(Chunk.objects.filter(version__document=document).order_by("ordinal"))


def test_a_file_becomes_pages_passages_and_points(acme: Organization, models: Any) -> None:
    document = upload(acme, "widgets.md", LONG)
    assert pipeline.work_until_idle() == 1
    row = progress.row(acme, document.id)
    assert row is not None
    assert (row.status, row.stage, row.media_type) == ("ready", "done", "text/markdown")
    assert row.done == row.total > 0
    chunks = chunks_of(acme, document)
    with tenant_scope(acme):
        texts = {page.number: page.text for page in Page.objects.all()}
        document.refresh_from_db()
    assert document.published_id is not None
    assert all(texts[c.page][c.start : c.end] == c.text for c in chunks)
    assert open_index(acme).ids() == {c.id for c in chunks}
    assert [c.id for c in chunks] == [chunk_id(acme.pk, c.version_id, n) for n, c in enumerate(chunks)]


def test_the_vectors_in_the_index_are_those_of_the_rows(acme: Organization, models: Any) -> None:
    document = upload(acme, "widgets.md", LONG)
    pipeline.work_until_idle()
    chunks = chunks_of(acme, document)
    points = open_index(acme).vectors([c.id for c in chunks])
    for c in chunks:
        assert c.embedding_model == models.name
        row = np.frombuffer(c.embedding, dtype="<f2").astype(np.float32)
        assert np.allclose(points[c.id], row, atol=2e-3)


def test_the_title_and_the_headings_are_embedded_and_the_cited_text_is_the_pages(
    acme: Organization, models: Any
) -> None:
    document = upload(acme, "widgets.md", b"# Zebra regulations\n\nThey must be striped.")
    pipeline.work_until_idle()
    (passage,) = chunks_of(acme, document)
    row = np.frombuffer(passage.embedding, dtype="<f2").astype(np.float32)
    bare = models.embed_passages([passage.text])[0]
    assert passage.headings == ["Zebra regulations"]
    assert float(row @ bare) < 0.999
    assert float(row @ bare) > 0.5


def test_working_twice_on_one_version_leaves_one_of_everything(acme: Organization, models: Any) -> None:
    document = upload(acme, "widgets.md", LONG)
    pipeline.work_until_idle()
    before = {c.id: bytes(c.embedding) for c in chunks_of(acme, document)}
    set_job(acme, document, status="queued")
    assert pipeline.work_until_idle() == 1
    assert {c.id: bytes(c.embedding) for c in chunks_of(acme, document)} == before
    assert open_index(acme).ids() == set(before)


def test_a_file_that_cannot_be_read_says_why_and_leaves_nothing(acme: Organization, models: Any) -> None:
    document = upload(acme, "broken.pdf", b"%PDF-1.7\nthis is no PDF")
    pipeline.work_until_idle()
    row = progress.row(acme, document.id)
    assert row is not None
    assert (row.status, row.error_code, row.searchable) == ("failed", "malformed", False)
    assert row.error_message
    assert row.error_remedy
    assert open_index(acme).count() == 0


def test_a_document_waits_without_blame_until_the_models_are_there(acme: Organization, storage: Any) -> None:
    document = upload(acme)
    clock = Clock()
    assert pipeline.work_until_idle(clock=clock) == 1
    job = job_of(acme, document)
    assert (job.status, job.attempts, job.interruptions) == ("queued", 0, 0)


def test_a_stopping_worker_gives_the_job_back(acme: Organization, models: Any) -> None:
    document = upload(acme, "widgets.md", LONG)
    clock = Clock()
    answers = iter([False, False, False, True])
    lease = jobs.claim(clock=clock, stopping=lambda: next(answers, True))
    assert lease is not None
    pipeline.work(lease)
    job = job_of(acme, document)
    assert (job.status, job.attempts, job.interruptions, job.lease_token) == ("queued", 0, 0, None)


def test_the_lease_is_kept_while_a_long_text_is_cut_into_passages(
    acme: Organization, models: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload(acme, "long.txt", b"The pump is checked every week. " * 60)
    renewed: list[str] = []
    renew = jobs.Lease.renew

    def counted(lease: jobs.Lease, *, stage: str, **more: Any) -> None:
        renewed.append(stage)
        renew(lease, stage=stage, **more)

    monkeypatch.setattr(jobs.Lease, "renew", counted)
    monkeypatch.setattr(pipeline, "PROGRESS_SECONDS", 0)
    monkeypatch.setattr(chunking, "_WINDOW", 200)
    pipeline.work_until_idle()
    assert renewed.count("parsing") > 5


def test_a_character_that_no_database_takes_keeps_its_place() -> None:
    assert storable("a\x00b\ud800c") == "a\ufffdb\ufffdc"


def test_nothing_of_a_version_is_found_before_it_is_published(acme: Organization, models: Any) -> None:
    document = upload(acme, "widgets.md", LONG)
    lease = jobs.claim()
    assert lease is not None
    jobs.cancel(organization=acme, document=document)
    pipeline.work(lease)
    with tenant_scope(acme):
        document.refresh_from_db()
        assert document.published_id is None
        assert DocumentVersion.objects.count() == 1
    assert open_index(acme).count() == 0
