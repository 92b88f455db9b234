"""A new version takes the place of the old one in one step; a deleted document leaves nothing (T10)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ingestion import deletion, jobs, pipeline
from ingestion.models import IngestionJob, Priority
from search.index import open_index
from search.models import Chunk, Document, DocumentVersion, Page
from tenants.models import Organization
from tenants.scope import tenant_scope
from tests.ingestion.corpus_of_acme import set_job, upload
from tests.ingestion.ready_for_work import models, storage
from tests.search.residue import residue

pytestmark = pytest.mark.django_db
__all__ = ["models", "storage"]


def files_of(root: Path) -> set[str]:
    return {p.name for p in (root / "files").rglob("*") if p.is_file()}


def texts(organization: Organization) -> str:
    with tenant_scope(organization):
        return " ".join(Chunk.objects.order_by("ordinal").values_list("text", flat=True))


def test_a_new_version_replaces_rows_points_and_file_of_the_old(
    acme: Organization, models: Any, storage: Path
) -> None:
    document = upload(acme, content=b"The limit is one hundred euros.")
    pipeline.work_until_idle()
    old_points, old_files = open_index(acme).ids(), files_of(storage)
    again = upload(acme, content=b"The limit is two hundred euros.", replaces=document.id)
    assert again.id == document.id
    assert "one hundred" in texts(acme), "the old version stands until the new one is ready"
    pipeline.work_until_idle()
    assert "two hundred" in texts(acme)
    assert "one hundred" not in texts(acme)
    assert not open_index(acme).ids() & old_points
    assert not files_of(storage) & old_files
    with tenant_scope(acme):
        assert DocumentVersion.objects.count() == IngestionJob.objects.count() == 1


def test_a_new_version_that_fails_leaves_the_old_one_to_be_found(acme: Organization, models: Any) -> None:
    document = upload(acme, content=b"The limit is one hundred euros.")
    pipeline.work_until_idle()
    points = open_index(acme).ids()
    upload(acme, content=b"%PDF-1.7 broken", replaces=document.id)
    pipeline.work_until_idle()
    assert "one hundred" in texts(acme)
    assert open_index(acme).ids() == points


def test_an_older_version_that_ends_late_does_not_replace_a_newer_one(
    acme: Organization, models: Any, storage: Path
) -> None:
    document = upload(acme, content=b"First of three.", external_id="x")
    upload(acme, content=b"Second of three.", external_id="x")
    late = jobs.claim()
    assert late is not None
    upload(acme, content=b"Third of three.", external_id="x")
    pipeline.work_until_idle()
    assert texts(acme).endswith("Third of three.")
    pipeline.work(late)
    assert texts(acme) == "Third of three."
    assert len(files_of(storage)) == 1
    assert open_index(acme).count() == 1
    with tenant_scope(acme):
        published = Document.objects.get(id=document.id).published
        assert published is not None
        assert list(DocumentVersion.objects.all()) == [published]


def test_a_deleted_document_leaves_no_row_no_point_and_no_file(
    acme: Organization, models: Any, storage: Path
) -> None:
    """T10."""
    document = upload(acme, content=b"The canary is called Esmeralda.")
    kept = upload(acme, content=b"This one stays.")
    pipeline.work_until_idle()
    assert deletion.delete_document(organization=acme, document_id=document.id)
    assert not any(residue(acme, document.id).values())
    with tenant_scope(acme):
        assert [d.id for d in Document.objects.all()] == [kept.id]
        assert Page.objects.count() == 1
    assert open_index(acme).count() == 1
    assert len(files_of(storage)) == 1
    again = upload(acme, content=b"The canary is called Esmeralda.")
    assert again.id != document.id


def test_a_document_of_another_organisation_cannot_be_deleted(
    acme: Organization, globex: Organization, models: Any
) -> None:
    theirs = upload(globex, content=b"The canary is called Esmeralda.")
    pipeline.work_until_idle()
    assert not deletion.delete_document(organization=acme, document_id=theirs.id)
    assert open_index(globex).count() == 1


def test_a_job_that_names_another_organisations_version_does_nothing(
    acme: Organization, globex: Organization, models: Any
) -> None:
    """T08: the work is done in the scope of the job's own organisation."""
    theirs = upload(globex, content=b"The canary is called Esmeralda.")
    ours = upload(acme, content=b"Ours.")
    with tenant_scope(globex):
        version = DocumentVersion.objects.get(document=theirs)
    set_job(globex, theirs, priority=Priority.BULK)
    lease = jobs.claim()
    assert lease is not None
    assert lease.document_id == ours.id
    lease.version_id = version.id
    pipeline.work(lease)
    assert open_index(acme).count() == 0
    with tenant_scope(globex):
        assert Chunk.objects.count() == 0
