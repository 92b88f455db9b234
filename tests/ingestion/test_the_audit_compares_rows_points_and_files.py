"""`audit_index` names what differs between rows, points and files, and mends what can be mended."""

from __future__ import annotations

import os
import time
import uuid
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.core.management import CommandError, call_command

from search.corpus import batches_of_points
from search.index import close_all, open_index
from search.models import Chunk, DocumentVersion
from tenants.models import Organization
from tenants.scope import tenant_scope
from tests.search.corpus_rows import document

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def storage(settings: Any, tmp_path: Path) -> Path:
    settings.STORAGES = {
        **settings.STORAGES,
        "default": {
            "BACKEND": "django.core.files.storage.FileSystemStorage",
            "OPTIONS": {"location": tmp_path / "files"},
        },
    }
    return tmp_path / "files"


def audit(**options: Any) -> str:
    out = StringIO()
    try:
        call_command("audit_index", stdout=out, **options)
    except CommandError as failure:
        return f"{out.getvalue()}FAILED ({failure.returncode}) {failure}"
    return out.getvalue()


def store(key: str, *, hours_old: float) -> Path:
    """A file that no row names."""
    path = Path(default_storage.path(default_storage.save(key, ContentFile(b"%PDF-"))))
    then = time.time() - 3600 * hours_old
    os.utime(path, (then, then))
    return path


def picture_of(settings: Any, organization_key: object, version: object) -> Path:
    folder = Path(settings.VAR) / "pages" / str(organization_key) / str(version)
    folder.mkdir(parents=True)
    (folder / "1.png").write_bytes(b"PNG")
    return folder


def test_what_belongs_together_is_equal(acme: Organization, settings: Any) -> None:
    document(acme, "A", ["impeller one", "impeller two"])
    with tenant_scope(acme):
        picture_of(settings, acme.pk, DocumentVersion.objects.get().pk)
    assert audit() == "acme: 2 points, 2 passages, 1 files, equal\n"


def test_points_and_rows_that_differ_are_named_and_mended(acme: Organization, globex: Organization) -> None:
    document(acme, "A", ["impeller one", "impeller two"])
    document(globex, "B", ["canary"])
    with tenant_scope(acme):
        first = Chunk.objects.order_by("ordinal")[0].id
    index = open_index(acme)
    index.delete([first])
    theirs = next(batches_of_points(globex))
    index.upsert(theirs)
    close_all()
    said = audit()
    assert "acme: 2 points, 2 passages, 1 files, DIFFERENT" in said
    assert f"missing, a passage without a point: {first}" in said
    assert f"LEAK, a point without a row: {theirs[0].id}" in said
    assert "FAILED (1)" in said
    assert "--repair" in said
    assert "mended: acme" in audit(repair=True)
    assert "FAILED" not in audit()
    assert open_index(globex).ids() == {theirs[0].id}


def test_a_file_without_a_row_goes_when_it_is_an_hour_old(acme: Organization) -> None:
    document(acme, "A", ["impeller"])
    old, fresh = store(f"{acme.pk}/old", hours_old=2), store(f"{acme.pk}/fresh", hours_old=0.5)
    said = audit()
    assert f"LEAK, a file without a row: {acme.pk}/old" in said
    assert f"{acme.pk}/fresh" not in said
    assert "FAILED" not in audit(repair=True)
    assert (old.exists(), fresh.exists()) == (False, True)
    assert "2 files, equal" in audit()


def test_a_version_whose_file_is_gone_is_reported_and_stays_reported(
    acme: Organization, storage: Path
) -> None:
    document(acme, "A", ["impeller"])
    with tenant_scope(acme):
        version = DocumentVersion.objects.get()
    (storage / version.file).unlink()
    assert f"missing, a version without its file: {version.pk}" in audit()
    assert "FAILED (1) What is left cannot be mended" in audit(repair=True)


def test_pictures_of_a_version_that_is_gone_go(acme: Organization, settings: Any) -> None:
    document(acme, "A", ["impeller"])
    folder = picture_of(settings, acme.pk, uuid.uuid4())
    assert f"LEAK, pictures without a version: {folder.name}" in audit()
    assert "FAILED" not in audit(repair=True)
    assert not folder.exists()


def test_what_belongs_to_no_organisation_goes(acme: Organization, settings: Any) -> None:
    document(acme, "A", ["impeller"])
    index = Path(settings.VAR) / "index" / "987654"
    index.mkdir(parents=True)
    file, folder = store("987654/old", hours_old=2), picture_of(settings, 987654, uuid.uuid4())
    said = audit()
    assert "LEAK: an index of organisation 987654" in said
    assert "LEAK: 1 files of organisation 987654" in said
    assert "LEAK: pictures of organisation 987654" in said
    assert "LEAK" not in audit(organization="acme")
    assert "FAILED" not in audit(repair=True)
    assert [path for path in (index, file, folder) if path.exists()] == []
    assert audit() == "acme: 1 points, 1 passages, 1 files, equal\n"
