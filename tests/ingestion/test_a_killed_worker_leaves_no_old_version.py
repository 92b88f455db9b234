"""A worker that is killed between publishing and clearing up leaves nothing of the old version for good."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from ingestion import pipeline, sweeper
from ingestion.models import IngestionJob
from search import corpus, reindex
from search.index import IndexFailure, open_index
from search.models import Document, DocumentVersion
from tenants.models import Organization
from tenants.scope import tenant_scope
from tests.ingestion.corpus_of_acme import upload
from tests.ingestion.ready_for_work import models, storage

pytestmark = pytest.mark.django_db
__all__ = ["models", "storage"]


class Killed(BaseException):
    """Ends the work as a kill does: nothing catches it."""


@pytest.fixture
def replaced(acme: Organization, models: Any, monkeypatch: pytest.MonkeyPatch) -> Document:
    """A document whose new version is published, and whose old one nobody has removed."""
    monkeypatch.setattr(sweeper, "_looked_at", None)
    document = upload(acme, content=b"The limit is one hundred euros.")
    pipeline.work_until_idle()
    upload(acme, content=b"The limit is two hundred euros.", replaces=document.id)

    def kill(*_: Any) -> None:
        raise Killed

    with monkeypatch.context() as deadly:
        deadly.setattr(corpus, "unindex_version", kill)
        with pytest.raises(Killed):
            pipeline.work_until_idle()
    with tenant_scope(acme):
        assert DocumentVersion.objects.count() == 2
    return document


def left(organization: Organization, storage: Path) -> tuple[int, int, int]:
    """Versions, points and files."""
    with tenant_scope(organization):
        versions = DocumentVersion.objects.count()
    files = [path for path in (storage / "files").rglob("*") if path.is_file()]
    return versions, open_index(organization).count(), len(files)


def test_the_next_sweep_removes_what_is_left(acme: Organization, replaced: Document, storage: Path) -> None:
    assert left(acme, storage) == (2, 2, 2)
    sweeper.sweep()
    assert left(acme, storage) == (1, 1, 1)
    assert reindex.audit(acme).clean
    with tenant_scope(acme):
        assert IngestionJob.objects.get().status == "ready"
        assert Document.objects.get().published is not None


def test_a_process_looks_again_after_an_hour_only(
    acme: Organization, replaced: Document, storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeper, "_looked_at", timezone.now())
    sweeper.sweep()
    assert left(acme, storage) == (2, 2, 2)
    sweeper.sweep(clock=lambda: timezone.now() + timedelta(hours=1))
    assert left(acme, storage) == (1, 1, 1)


def test_an_index_that_fails_does_not_end_the_sweep_and_is_asked_again(
    acme: Organization, replaced: Document, storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any) -> None:
        raise IndexFailure("The server is away.")

    with monkeypatch.context() as broken:
        broken.setattr(corpus, "unindex_version", away)
        sweeper.sweep()
    sweeper.sweep()
    assert left(acme, storage) == (2, 2, 2)  # not at each sweep
    sweeper.sweep(clock=lambda: timezone.now() + timedelta(hours=1))
    assert left(acme, storage) == (1, 1, 1)
