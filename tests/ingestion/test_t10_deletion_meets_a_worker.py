"""T10: a document that is deleted while a worker indexes it leaves no point, whoever of the two is faster."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from django.core.files.storage import default_storage

from ingestion import deletion, jobs, pipeline
from search import corpus
from search.index import IndexFailure, open_index
from search.models import Document, DocumentVersion
from tenants.models import Organization
from tenants.scope import tenant_scope
from tests.ingestion.corpus_of_acme import upload
from tests.ingestion.ready_for_work import models, storage
from tests.search.residue import residue

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("models")]
__all__ = ["models", "storage"]

AfterIndexing = Callable[[Callable[[], None]], None]


@pytest.fixture
def document(acme: Organization, models: Any) -> Document:
    return upload(acme, content=b"The canary is called Esmeralda.")


@pytest.fixture
def after_indexing(monkeypatch: pytest.MonkeyPatch) -> AfterIndexing:
    """``after_indexing(act)``: the worker has written its points, then ``act`` happens, then it goes on."""

    def make(act: Callable[[], None]) -> None:
        index_version = corpus.index_version

        def indexed(organization: Organization, version_id: UUID, **more: Any) -> int:
            written = index_version(organization, version_id, **more)
            assert open_index(organization).count() == written > 0
            act()
            return written

        monkeypatch.setattr(corpus, "index_version", indexed)

    return make


def test_points_written_while_the_rows_are_being_removed(
    acme: Organization, document: Document, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline.work_until_idle()
    with tenant_scope(acme):
        version_id = DocumentVersion.objects.get(document=document).id
    delete_file = default_storage.delete

    def a_worker_writes_meanwhile(name: str) -> None:
        assert open_index(acme).count() == 0
        corpus.index_version(acme, version_id)
        delete_file(name)

    with monkeypatch.context() as slow:
        slow.setattr(default_storage, "delete", a_worker_writes_meanwhile)
        assert deletion.delete_document(organization=acme, document_id=document.id)
    assert not any(residue(acme, document.id).values())


def test_the_file_of_a_version_that_comes_in_meanwhile(
    acme: Organization, document: Document, monkeypatch: pytest.MonkeyPatch
) -> None:
    delete_file = default_storage.delete

    def a_version_comes_in(name: str) -> None:
        slow.undo()
        upload(acme, content=b"The canary is called Quasimodo.", replaces=document.id)
        delete_file(name)

    with monkeypatch.context() as slow:
        slow.setattr(default_storage, "delete", a_version_comes_in)
        assert corpus.remove_document(acme, document.id)
    assert not any(residue(acme, document.id).values())


def test_points_written_before_the_worker_notices(
    acme: Organization, document: Document, after_indexing: AfterIndexing
) -> None:
    def rows_go() -> None:
        with tenant_scope(acme):
            Document.objects.filter(id=document.id).delete()

    after_indexing(rows_go)
    pipeline.work_until_idle()
    assert open_index(acme).count() == 0


def test_points_of_a_worker_that_is_told_to_stop_meanwhile(
    acme: Organization, document: Document, after_indexing: AfterIndexing
) -> None:
    stopping = False

    def rows_go() -> None:
        nonlocal stopping
        stopping = True
        with tenant_scope(acme):
            Document.objects.filter(id=document.id).delete()

    after_indexing(rows_go)
    pipeline.work_until_idle(stopping=lambda: stopping)
    assert open_index(acme).count() == 0


def test_points_of_a_worker_whose_index_fails_meanwhile(
    acme: Organization, document: Document, after_indexing: AfterIndexing
) -> None:
    def rows_go_and_the_index_fails() -> None:
        with tenant_scope(acme):
            Document.objects.filter(id=document.id).delete()
        raise IndexFailure("The server is away.")

    after_indexing(rows_go_and_the_index_fails)
    pipeline.work_until_idle()
    assert open_index(acme).count() == 0


def test_points_of_a_job_that_was_cancelled(
    acme: Organization, document: Document, after_indexing: AfterIndexing
) -> None:
    def cancel() -> None:
        assert jobs.cancel(organization=acme, document=document) == 1

    after_indexing(cancel)
    pipeline.work_until_idle()
    assert open_index(acme).count() == 0


def test_a_worker_that_lost_its_lease_to_another_takes_nothing_away(
    acme: Organization, document: Document, after_indexing: AfterIndexing
) -> None:
    def another_takes_over() -> None:
        jobs.interrupt_expired(sole_worker=True)

    after_indexing(another_takes_over)
    lease = jobs.claim()
    assert lease is not None
    pipeline.work(lease)
    assert open_index(acme).count() == 1
