"""A process that dies in the middle of a deletion leaves a document that is neither found nor kept for good."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core.files.storage import default_storage
from django.utils import timezone

from ingestion import deletion, jobs, page_images, pipeline, sweeper
from ingestion.uploads import UploadRefused
from search import corpus
from search.index import IndexFailure
from search.models import Document
from tenants.models import Organization
from tenants.scope import tenant_scope
from tests.ingestion.corpus_of_acme import job_of, upload
from tests.ingestion.ready_for_work import storage
from tests.ingestion.words_for_work import words
from tests.search.residue import residue

pytestmark = pytest.mark.django_db
__all__ = ["storage", "words"]

CONTENT = b"The canary is called Esmeralda."
CutOff = Callable[[], None]


class Killed(BaseException):
    """Ends the work as a kill does: nothing catches it."""


def later() -> Any:
    return timezone.now() + timedelta(minutes=5)


@pytest.fixture
def document(acme: Organization, words: Any) -> Document:
    document = upload(acme, content=CONTENT, external_id="canary")
    pipeline.work_until_idle()
    return document


PLACES: list[tuple[Any, str]] = [
    (page_images, "forget"),
    (corpus, "remove_document"),
    (corpus, "_unindex_document"),
    (default_storage, "delete"),
    (corpus, "_forget_citations"),
]


def cut_off(organization: Organization, document: Document, place: tuple[Any, str]) -> None:
    def kill(*_: Any) -> None:
        raise Killed

    with pytest.MonkeyPatch.context() as deadly:
        deadly.setattr(*place, kill)
        with pytest.raises(Killed):
            deletion.delete_document(organization=organization, document_id=document.id)


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place[1])
def test_a_sweep_removes_what_is_left(acme: Organization, document: Document, place: tuple[Any, str]) -> None:
    cut_off(acme, document, place)
    sweeper.sweep()
    with tenant_scope(acme):
        assert Document.objects.filter(id=document.id, published=None).exists(), (
            "the deletion may be going on"
        )
    sweeper.sweep(clock=later)
    assert not any(residue(acme, document.id).values())


def test_meanwhile_it_says_so_and_cannot_be_brought_back(acme: Organization, document: Document) -> None:
    cut_off(acme, document, PLACES[2])
    job = job_of(acme, document)
    assert (job.status, job.error_code) == ("cancelled", "deleted")
    assert not jobs.retry(organization=acme, document=document)
    with pytest.raises(UploadRefused) as refused:
        upload(acme, content=b"Quasimodo.", replaces=document.id)
    assert refused.value.status == 404


@pytest.mark.parametrize("more", [{}, {"external_id": "canary"}])
def test_what_is_uploaded_meanwhile_stays(
    acme: Organization, document: Document, more: dict[str, str]
) -> None:
    cut_off(acme, document, PLACES[2])
    again = upload(acme, content=CONTENT, **more)
    assert again.id != document.id
    pipeline.work_until_idle()
    sweeper.sweep(clock=later)
    with tenant_scope(acme):
        assert [found.id for found in Document.objects.filter(published__isnull=False)] == [again.id]
    assert not any(residue(acme, document.id).values())


def test_an_index_that_is_away_is_asked_again(
    acme: Organization, document: Document, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any) -> None:
        raise IndexFailure("The server is away.")

    with monkeypatch.context() as broken:
        broken.setattr(corpus, "_unindex_document", away)
        with pytest.raises(IndexFailure):
            deletion.delete_document(organization=acme, document_id=document.id)
        assert deletion.finish_deletions(clock=later) == 0
    assert deletion.finish_deletions(clock=later) == 1
    assert not any(residue(acme, document.id).values())


def test_it_may_be_asked_for_again_at_once(acme: Organization, document: Document) -> None:
    cut_off(acme, document, PLACES[3])
    assert deletion.delete_document(organization=acme, document_id=document.id)
    assert not deletion.delete_document(organization=acme, document_id=document.id)
    assert not any(residue(acme, document.id).values())
