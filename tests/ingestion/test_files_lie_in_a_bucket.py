"""With S3 as the storage a file is streamed, hashed, read and deleted as on a disk, and what breaks off leaves nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.core.files.storage import default_storage
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from ingestion import deletion, files, intake, pipeline
from ingestion.refusals import UploadRefused
from search import corpus
from search.models import DocumentVersion
from tenants.models import Organization
from tenants.scope import tenant_scope
from tests.ingestion.bucket_for_work import bucket, server
from tests.ingestion.corpus_of_acme import job_of, upload
from tests.ingestion.ready_for_work import storage
from tests.ingestion.servers_that_leave import Bucket, Server
from tests.ingestion.words_for_work import words
from tests.search.residue import residue

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("words", "server")]
__all__ = ["bucket", "server", "storage", "words"]

LINE = b"The pump of hall seven is greased before the winter. "
LARGE = LINE * 240_000
"""12.7 MB: three parts."""


def pieces(content: bytes, size: int = 64 << 10) -> Iterator[bytes]:
    for start in range(0, len(content), size):
        yield content[start : start + size]


def test_a_large_file_goes_out_in_parts_while_it_comes_in(acme: Organization, bucket: Bucket) -> None:
    seen: list[int] = []

    def watched() -> Iterator[bytes]:
        for piece in pieces(LARGE):
            seen.append(bucket.asked.count("PUT part"))
            yield piece

    stored = intake.take_in(acme, "large.txt", watched())
    assert (stored.size, stored.sha256) == (len(LARGE), hashlib.sha256(LARGE).hexdigest())
    assert bucket.objects == {stored.key: LARGE}
    assert not bucket.parts
    assert max(seen) == 2, "parts go out before the last byte has come"
    with files.local_copy(stored.key) as path:
        assert path.read_bytes() == LARGE
    assert not path.exists()


def test_no_acl_is_named(acme: Organization, bucket: Bucket) -> None:
    intake.take_in(acme, "a.txt", [LINE])
    assert "x-amz-acl" not in bucket.headers


def test_what_is_refused_or_breaks_off_leaves_nothing(
    acme: Organization, bucket: Bucket, settings: Any
) -> None:
    settings.ENV = settings.ENV.model_copy(update={"max_upload_mb": 12})
    with pytest.raises(UploadRefused) as refused:
        intake.take_in(acme, "large.txt", pieces(LARGE))
    assert refused.value.status == 413

    def cut_off() -> Iterator[bytes]:
        yield from pieces(LARGE[:11_000_000])
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        intake.take_in(acme, "large.txt", cut_off())
    assert bucket.asked.count("PUT part") > 2
    assert bucket.asked.count("POST part") == 0, "no half file lies there, however short"
    assert (bucket.objects, bucket.parts) == ({}, {})


def test_a_file_becomes_searchable_and_is_deleted_with_its_document(
    acme: Organization, bucket: Bucket
) -> None:
    document = upload(acme, "pump.txt", LINE)
    pipeline.work_until_idle()
    assert job_of(acme, document).status == "ready"
    with tenant_scope(acme):
        key = DocumentVersion.objects.get().file
    assert corpus.stored_files(acme) == {key} == set(bucket.objects)
    assert deletion.delete_document(organization=acme, document_id=document.id)
    assert bucket.objects == {}
    assert not any(residue(acme, document.id).values())


def test_a_file_that_is_not_there_is_missing(acme: Organization, bucket: Bucket) -> None:
    document = upload(acme, "pump.txt", LINE)
    bucket.objects.clear()
    pipeline.work_until_idle()
    assert job_of(acme, document).error_code == "file_missing"
    default_storage.delete("nothing")
    assert files.stored_at("nothing", now := job_of(acme, document).created_at) == now


def test_an_upload_while_the_bucket_is_away_is_refused_and_leaves_nothing(
    acme: Organization, api: Callable[..., Client], bucket: Bucket, server: Server
) -> None:
    server.leave()
    sent = {"file": SimpleUploadedFile("pump.txt", LINE)}
    answer = api(acme, "write").post("/api/v1/documents", sent)
    assert answer.status_code == 503, answer.content
    assert answer.json()["error"]["code"] == "storage_failed"
    server.come()
    assert (bucket.objects, bucket.parts) == ({}, {})
