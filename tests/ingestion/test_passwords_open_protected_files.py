"""A protected file is read with its password, which is kept encrypted, until the job ends and no longer."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import IntegrityError, transaction
from django.test import Client
from django.urls import reverse

from ingestion import child, jobs, passwords, pipeline
from ingestion.child import parse_file
from ingestion.guards import IngestionFailure, Limits
from ingestion.parsers.odt import ODT
from search.models import Document, DocumentVersion
from tenants.models import Organization
from tenants.scope import tenant_scope
from tests.ingestion import factories
from tests.ingestion.corpus_of_acme import job_of, set_job, upload
from tests.ingestion.ready_for_work import models, storage

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("storage")]
__all__ = ["models", "storage"]
SECRET = "sésame, öffne dich"
Api = Callable[..., Client]


@pytest.fixture
def protected() -> bytes:
    return factories.encrypted_pdf("the vault holds gold", SECRET)


@pytest.mark.parametrize(
    ("name", "plain", "words"),
    [
        ("a.docx", factories.make_docx, "thirty days of leave"),
        ("a.pptx", factories.make_pptx, "Revenue grew"),
        ("a.xlsx", factories.make_xlsx, "Oslo"),
    ],
)
def test_an_office_file_opens_with_its_password_only(
    name: str, plain: Callable[[], bytes], words: str, tmp_path: Path
) -> None:
    path = tmp_path / "upload"
    path.write_bytes(factories.encrypted_office(plain(), SECRET))
    read = parse_file(path, filename=name, limits=Limits(), password=SECRET)
    assert read.protected
    assert words in "\n".join(page.text for page in read.pages)
    for password, sentence in ((None, "is protected"), ("wrong", "did not open")):
        with pytest.raises(IngestionFailure, match=sentence) as failure:
            parse_file(path, filename=name, limits=Limits(), password=password)
        assert failure.value.code == "encrypted"


def test_a_password_sent_with_the_upload_opens_the_file(
    acme: Organization, api: Api, models: Any, protected: bytes
) -> None:
    client = api(acme, "read", "write")
    sent = {"file": SimpleUploadedFile("vault.pdf", protected), "password": SECRET}
    body = client.post("/api/v1/documents", sent).json()
    assert "password" not in body
    pipeline.work_until_idle()
    assert client.get(f"/api/v1/documents/{body['id']}").json()["status"] == "ready"
    with tenant_scope(acme):
        version = DocumentVersion.objects.get()
    assert version.protected


def test_a_retry_with_a_wrong_password_says_so_and_with_the_right_one_is_ready(
    acme: Organization, api: Api, models: Any, protected: bytes
) -> None:
    client = api(acme, "read", "write")
    document = upload(acme, "vault.pdf", protected)
    address = f"/api/v1/documents/{document.id}"
    pipeline.work_until_idle()
    assert "its password" in client.get(address).json()["error"]["remedy"]
    for password, error in (("wrong", "The password did not open the file."), (SECRET, None)):
        retried = client.post(f"{address}/retry", {"password": password}, content_type="application/json")
        assert retried.status_code == 202, retried.content
        assert "sealed_password" not in retried.json()
        pipeline.work_until_idle()
        found = client.get(address).json()["error"]
        assert (found and found["message"]) == error
        assert job_of(acme, document).sealed_password == ""


def test_the_page_asks_an_admin_for_the_password(
    acme: Organization, alice_client: Client, models: Any, protected: bytes
) -> None:
    document = upload(acme, "vault.pdf", protected)
    pipeline.work_until_idle()
    row = reverse("document-row", args=["acme", document.id])
    assert 'type="password"' in alice_client.get(row).content.decode()
    retry = reverse("document-retry", args=["acme", document.id])
    alice_client.post(retry, {"password": SECRET}, headers={"HX-Request": "true"})
    pipeline.work_until_idle()
    page = alice_client.get(reverse("document", args=["acme", document.id]))
    assert "the vault holds gold" in page.content.decode()
    assert "page-image" not in page.content.decode(), "the file cannot be drawn without its password"


def test_nobody_is_asked_for_a_password_that_opens_nothing(
    acme: Organization, alice_client: Client, models: Any
) -> None:
    manifest = b'<m:manifest xmlns:m="m"><m:file-entry><m:encryption-data/></m:file-entry></m:manifest>'
    parts = {"mimetype": ODT.encode(), "content.xml": b"\x00\x01", "META-INF/manifest.xml": manifest}
    document = upload(acme, "policy.odt", factories.make_zip(parts))
    pipeline.work_until_idle()
    assert job_of(acme, document).error_code == "encrypted"
    row = alice_client.get(reverse("document-row", args=["acme", document.id])).content.decode()
    assert "Remove the password and upload the file again." in row
    assert 'type="password"' not in row


def test_the_row_keeps_it_encrypted_for_its_own_job_only(acme: Organization, protected: bytes) -> None:
    document = upload(acme, "vault.pdf", protected, password=SECRET)
    other = upload(acme, "other.md", b"# words", password="another")
    job, second = job_of(acme, document), job_of(acme, other)
    assert job.sealed_password
    assert SECRET not in job.sealed_password
    assert passwords.of_job(organization=acme, job_id=job.id) == SECRET
    set_job(acme, other, sealed_password=job.sealed_password)
    assert passwords.of_job(organization=acme, job_id=second.id) is None


def test_it_is_kept_when_the_same_file_waits_already(acme: Organization, protected: bytes) -> None:
    document = upload(acme, "vault.pdf", protected)
    assert upload(acme, "vault.pdf", protected, password=SECRET) == document
    assert passwords.of_job(organization=acme, job_id=job_of(acme, document).id) == SECRET
    upload(acme, "vault.pdf", protected)
    assert passwords.of_job(organization=acme, job_id=job_of(acme, document).id) == SECRET


def test_an_ended_job_can_hold_none(acme: Organization) -> None:
    document = upload(acme, password=SECRET)
    with pytest.raises(IntegrityError), transaction.atomic():
        set_job(acme, document, status=jobs.Status.FAILED)
    assert jobs.cancel(organization=acme, document=document) == 1
    assert job_of(acme, document).sealed_password == ""


def test_it_is_wiped_when_the_work_is_given_up_or_the_document_deleted(acme: Organization) -> None:
    cut_off = upload(acme, password=SECRET)
    assert jobs.claim() is not None
    set_job(acme, cut_off, interruptions=jobs.MAX_INTERRUPTIONS - 1)
    assert jobs.interrupt_expired(sole_worker=True) == 1
    assert job_of(acme, cut_off).sealed_password == ""
    deleted = upload(acme, "b.md", b"# other words", password=SECRET)
    jobs.end_for_deletion(organization=acme, document=deleted)
    assert job_of(acme, deleted).sealed_password == ""


@pytest.mark.parametrize("by", ["retry", "upload"])
@pytest.mark.parametrize("first", ["", "wrong"])
def test_one_that_comes_while_the_file_is_being_read_is_used_next(
    acme: Organization,
    storage: Path,
    models: Any,
    protected: bytes,
    by: str,
    first: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    document = upload(acme, "vault.pdf", protected, password=first)
    whole, reads = child.parse_file, 0

    def read(path: Path, **others: Any) -> Any:
        nonlocal reads
        reads += 1
        return whole(path, **others)

    monkeypatch.setattr(child, "parse_file", read)
    fail = jobs.Lease.fail

    def fail_later(self: jobs.Lease, **why: str) -> None:
        if reads == 1:  # the file was read, and that it is protected is not yet recorded
            if by == "retry":
                jobs.retry(organization=acme, document=document, password=SECRET)
            else:
                upload(acme, "vault.pdf", protected, password=SECRET)
        fail(self, **why)

    monkeypatch.setattr(jobs.Lease, "fail", fail_later)
    pipeline.work_until_idle()
    job = job_of(acme, document)
    assert (job.status, job.attempts, job.error_code, job.sealed_password) == ("ready", 0, "", "")
    assert reads == 2


def test_the_same_one_again_fails_the_job(acme: Organization, protected: bytes) -> None:
    document = upload(acme, "vault.pdf", protected, password="wrong")
    lease = jobs.claim()
    assert lease is not None
    lease.sealed_password = job_of(acme, document).sealed_password
    lease.fail(code="encrypted", message="Protected.", remedy="Password.")
    job = job_of(acme, document)
    assert (job.status, job.error_code, job.sealed_password) == ("failed", "encrypted", "")


def test_it_survives_a_try_that_is_repeated(acme: Organization) -> None:
    document = upload(acme, password=SECRET)
    lease = jobs.claim()
    assert lease is not None
    lease.fail(code="timeout", message="Too slow.", remedy="Wait.")
    assert passwords.of_job(organization=acme, job_id=job_of(acme, document).id) == SECRET


def test_nothing_logs_it(
    acme: Organization, models: Any, protected: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        upload(acme, "vault.pdf", protected, password=SECRET)
        pipeline.work_until_idle()
    with tenant_scope(acme):
        assert Document.objects.get().published is not None
    assert SECRET not in caplog.text
