"""The pictures of a version's pages are removed with it, also one that is drawn at that moment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ingestion import child, deletion, page_images, pipeline
from search.models import Document, DocumentVersion
from tenants.models import Organization
from tenants.scope import tenant_scope
from tests.ingestion.corpus_of_acme import upload
from tests.ingestion.factories import make_pdf
from tests.ingestion.ready_for_work import models, storage

pytestmark = pytest.mark.django_db
__all__ = ["models", "storage"]


@pytest.fixture
def version(acme: Organization, models: Any) -> DocumentVersion:
    upload(acme, "limit.pdf", make_pdf(["The limit is one hundred euros."]))
    pipeline.work_until_idle()
    with tenant_scope(acme):
        return DocumentVersion.objects.get()


def pictures(storage: Path) -> list[Path]:
    return [path for path in (storage / "pages").rglob("*") if path.is_file()]


def test_a_replaced_version_takes_its_pictures_along(
    acme: Organization, version: DocumentVersion, storage: Path
) -> None:
    page_images.page_png(acme, version, 1)
    assert len(pictures(storage)) == 1
    upload(acme, "limit.pdf", make_pdf(["The limit is two hundred euros."]), replaces=version.document_id)
    pipeline.work_until_idle()
    with tenant_scope(acme):
        assert DocumentVersion.objects.get().id != version.id
    assert not pictures(storage)


def test_a_picture_drawn_while_its_document_is_deleted_is_not_kept(
    acme: Organization, version: DocumentVersion, storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def draw(*_: object, **__: object) -> bytes:
        deletion.delete_document(organization=acme, document_id=version.document_id)
        return b"picture"

    monkeypatch.setattr(child, "render_page", draw)
    with pytest.raises(FileNotFoundError, match="removed"):
        page_images.page_png(acme, version, 1)
    assert not pictures(storage)
    with tenant_scope(acme):
        assert not Document.objects.exists()
