"""An upload leaves a file, a document, a version and a job together, or nothing at all."""

from __future__ import annotations

import errno
import threading
from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage import default_storage
from django.db import connections

from ingestion import files, jobs
from ingestion.models import IngestionJob
from ingestion.uploads import UploadRefused
from search.models import Document, DocumentVersion
from tenants.models import Organization
from tenants.scope import tenant_scope
from tests.ingestion.corpus_of_acme import Clock, job_of, set_job, upload

pytestmark = pytest.mark.django_db


def stored(organization: Organization) -> int:
    folder = Path(default_storage.path(str(organization.pk)))
    return len(list(folder.iterdir())) if folder.is_dir() else 0


def counts(organization: Organization) -> tuple[int, int, int]:
    with tenant_scope(organization):
        return (Document.objects.count(), DocumentVersion.objects.count(), IngestionJob.objects.count())


@pytest.fixture(autouse=True)
def empty_storage(settings: Any, tmp_path: Path) -> None:
    settings.STORAGES = {
        **settings.STORAGES,
        "default": {
            "BACKEND": "django.core.files.storage.FileSystemStorage",
            "OPTIONS": {"location": tmp_path / "files"},
        },
    }


def test_the_file_is_stored_and_its_job_queued(acme: Organization) -> None:
    document = upload(acme)
    assert counts(acme) == (1, 1, 1)
    assert stored(acme) == 1
    assert job_of(acme, document).status == "queued"


def test_the_same_content_twice_is_one_document(acme: Organization) -> None:
    first = upload(acme, "policy.md")
    second = upload(acme, "copy of policy.md")
    assert second.id == first.id
    assert counts(acme) == (1, 1, 1)
    assert stored(acme) == 1


def test_the_same_content_in_another_organisation_is_another_document(
    acme: Organization, globex: Organization
) -> None:
    ours, theirs = upload(acme), upload(globex)
    assert ours.id != theirs.id
    assert counts(globex) == (1, 1, 1)


@pytest.mark.django_db(transaction=True)
def test_the_same_content_sent_many_times_at_once_is_one_document(acme: Organization) -> None:
    """T27."""
    got: list[object] = []
    start = threading.Barrier(4)

    def send() -> None:
        start.wait()
        got.append(upload(acme).id)
        connections.close_all()

    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 4
    assert len(set(got)) == 1
    assert counts(acme) == (1, 1, 1)
    assert stored(acme) == 1


def test_content_that_failed_before_is_tried_again(acme: Organization) -> None:
    document = upload(acme)
    lease = jobs.claim(clock=Clock())
    assert lease is not None
    lease.fail(code="encrypted", message="Protected.", remedy="Remove the password.")
    assert upload(acme).id == document.id
    assert job_of(acme, document).status == "queued"


def test_content_of_an_old_version_that_failed_is_no_retry_of_the_newest(acme: Organization) -> None:
    first = upload(acme, "a.txt", b"first", external_id="a")
    set_job(acme, first, status="failed", error_code="timeout")
    upload(acme, "a.txt", b"second", external_id="a")
    newest = job_of(acme, first)
    set_job(acme, first, status="failed", error_code="timeout")
    again = upload(acme, "b.txt", b"first")
    assert again != first
    assert job_of(acme, first).id == newest.id
    assert job_of(acme, first).status == "failed"
    assert job_of(acme, again).status == "queued"


def test_a_known_external_id_makes_a_new_version(acme: Organization) -> None:
    first = upload(acme, content=b"version one", external_id="wiki/1")
    second = upload(acme, content=b"version two", external_id="wiki/1")
    again = upload(acme, content=b"version two", external_id="wiki/1")
    other = upload(acme, content=b"version two", external_id="wiki/2")
    assert first.id == second.id == again.id
    assert other.id != first.id
    assert counts(acme) == (2, 3, 3)


def test_replacing_a_document_that_is_not_ours_is_refused(acme: Organization, globex: Organization) -> None:
    theirs = upload(globex)
    with pytest.raises(UploadRefused) as refusal:
        upload(acme, content=b"mine now", replaces=theirs.id)
    assert (refusal.value.status, refusal.value.code) == (404, "not_found")
    assert counts(acme) == (0, 0, 0)
    assert stored(acme) == 0


def test_an_idempotency_key_answers_with_the_same_document_and_never_for_other_content(
    acme: Organization,
) -> None:
    first = upload(acme, content=b"one", idempotency_key="k1")
    assert upload(acme, content=b"one", idempotency_key="k1").id == first.id
    with pytest.raises(UploadRefused) as refusal:
        upload(acme, content=b"two", idempotency_key="k1")
    assert refusal.value.status == 409
    assert stored(acme) == 1


def test_a_file_beyond_the_limit_is_refused_while_it_is_read(acme: Organization, settings: Any) -> None:
    settings.ENV = settings.ENV.model_copy(update={"max_upload_mb": 1})
    with pytest.raises(UploadRefused) as refusal:
        upload(acme, content=b"x" * 1_000_001)
    assert (refusal.value.status, refusal.value.code) == (413, "too_large")
    assert stored(acme) == 0


@pytest.mark.parametrize("content", [b"MZ" + b"\x90" * 400, b"\x89PNG\r\n\x1a\n" + b"\x00" * 400])
def test_a_program_or_a_picture_is_refused_whatever_its_name(acme: Organization, content: bytes) -> None:
    with pytest.raises(UploadRefused) as refusal:
        upload(acme, "report.pdf", content)
    assert (refusal.value.status, refusal.value.code) == (415, "unsupported")
    assert refusal.value.remedy
    assert stored(acme) == 0


def test_an_empty_file_is_refused(acme: Organization) -> None:
    with pytest.raises(UploadRefused) as refusal:
        upload(acme, content=b"")
    assert refusal.value.code == "empty"


def test_a_full_disk_is_said_and_keeps_no_half_of_the_file(
    acme: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    class SmallDisk:
        def __init__(self, file: Any) -> None:
            self.file = file

        def write(self, data: bytes) -> None:
            self.file.write(data[:10])
            raise OSError(errno.ENOSPC, "No space left on device")

        def close(self) -> None:
            self.file.close()

    plain = files.create

    def small_disk(key: str) -> SmallDisk:
        return SmallDisk(plain(key))

    monkeypatch.setattr(files, "create", small_disk)
    with pytest.raises(UploadRefused) as refusal:
        upload(acme)
    assert (refusal.value.status, refusal.value.code) == (503, "storage_failed")
    assert counts(acme) == (0, 0, 0)
    assert stored(acme) == 0


def test_the_file_is_removed_when_its_rows_cannot_be_written(
    acme: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("the database is gone")

    monkeypatch.setattr(jobs, "enqueue", broken)
    with pytest.raises(RuntimeError):
        upload(acme)
    assert counts(acme) == (0, 0, 0)
    assert stored(acme) == 0
