"""An upload goes straight into the storage, is refused as soon as it can be, and leaves nothing when it ends badly."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile, TemporaryUploadedFile
from django.test import Client
from django.test.client import BOUNDARY, MULTIPART_CONTENT, encode_multipart

from ingestion import intake, uploads
from ingestion.intake import HEAD, StoredUpload, take_in
from ingestion.uploads import UploadRefused
from search.models import Document
from tenants.models import Organization
from tenants.scope import tenant_scope
from tests.ingestion.corpus_of_acme import POLICY, upload
from tests.ingestion.long_queues import queue_files
from tests.ingestion.ready_for_work import storage

pytestmark = [pytest.mark.django_db]
__all__ = ["storage"]

PAGE = "/o/acme/documents/upload"
API = "/api/v1/documents"
LARGE = b"A line of the long report of acme.\n" * 100_000
HTMX = {"HX-Request": "true"}


def stored(storage: Path) -> int:
    return sum(path.is_file() for path in (storage / "files").rglob("*"))


def post(client: Client, path: str, content: bytes = POLICY, **more: Any) -> Any:
    fields = {**more.pop("fields", {}), "file": SimpleUploadedFile("policy.md", content)}
    return client.post(path, fields, **more)


@pytest.fixture
def received(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the door of the corpus was given."""
    seen: list[Any] = []
    plain = uploads.accept_upload

    def note(**arguments: Any) -> Document:
        seen.append(arguments["stream"])
        return plain(**arguments)

    monkeypatch.setattr(uploads, "accept_upload", note)
    return seen


@pytest.mark.parametrize("path", [PAGE, API])
def test_a_large_file_is_written_once(
    path: str,
    acme: Organization,
    alice_client: Client,
    api: Callable[..., Client],
    storage: Path,
    received: list[Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def no_copy(*_: Any, **__: Any) -> None:
        raise AssertionError("a second copy was made")

    monkeypatch.setattr(TemporaryUploadedFile, "__init__", no_copy)
    client = alice_client if path == PAGE else api(acme, "read", "write")
    assert post(client, path, LARGE).status_code in (202, 302)
    assert isinstance(received[0], StoredUpload)
    with tenant_scope(acme):
        version = Document.objects.get().versions.get()
    assert (storage / "files" / version.file).read_bytes() == LARGE
    assert stored(storage) == 1


def test_a_program_is_refused_at_its_first_bytes(acme: Organization, storage: Path) -> None:
    read = 0

    def parts() -> Iterator[bytes]:
        nonlocal read
        for part in (b"MZ" + b"\x90" * HEAD, *[b"\x90" * HEAD] * 100):
            read += 1
            yield part

    with pytest.raises(UploadRefused) as refusal:
        take_in(acme, "report.pdf", parts())
    assert (refusal.value.status, read) == (415, 1)
    assert stored(storage) == 0


def test_a_file_beyond_the_limit_is_refused_when_it_passes_it(
    acme: Organization, storage: Path, settings: Any
) -> None:
    settings.ENV = settings.ENV.model_copy(update={"max_upload_mb": 1})
    read = 0

    def parts() -> Iterator[bytes]:
        nonlocal read
        for _ in range(100):
            read += 1
            yield b"x" * 300_000

    with pytest.raises(UploadRefused) as refusal:
        take_in(acme, "a.txt", parts())
    assert (refusal.value.status, read) == (413, 4)
    assert stored(storage) == 0


@pytest.mark.parametrize("path", [PAGE, API])
def test_a_full_queue_is_429_before_the_file_is_read(
    path: str,
    acme: Organization,
    globex: Organization,
    alice_client: Client,
    api: Callable[..., Client],
    storage: Path,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings.ENV = settings.ENV.model_copy(update={"max_queued_files": 2})
    upload(globex, "theirs.txt", b"theirs")
    upload(acme, "one.txt", b"one")
    client = alice_client if path == PAGE else api(acme, "read", "write")
    assert post(client, path).status_code in (202, 302), "one of two"
    monkeypatch.setattr(intake.Intake, "write", None)
    response = post(client, path, b"one too many", headers=HTMX)
    assert response.status_code == 429
    assert response["Retry-After"] == "60"
    assert response.json()["error"]["code"] == "queue_full"
    assert stored(storage) == 3


def test_an_upload_that_breaks_off_leaves_nothing(
    acme: Organization, alice_client: Client, api: Callable[..., Client], storage: Path
) -> None:
    body = encode_multipart(BOUNDARY, {"file": SimpleUploadedFile("a.txt", LARGE)})
    for client, path in ((alice_client, PAGE), (api(acme, "read", "write"), API)):
        response = client.generic("POST", path, body[: len(body) // 2], MULTIPART_CONTENT)
        assert response.status_code == 400
    assert stored(storage) == 0


def test_a_form_of_another_site_leaves_nothing(acme: Organization, alice: User, storage: Path) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(alice, backend="django.contrib.auth.backends.ModelBackend")
    client.get("/o/acme/documents/")
    assert post(client, PAGE).status_code == 403
    assert post(client, API).status_code == 403
    assert stored(storage) == 0
    token = client.cookies["csrftoken"].value
    assert post(client, PAGE, fields={"csrfmiddlewaretoken": token}).status_code == 302
    assert post(client, API, b"more", headers={"X-CSRFToken": token}).status_code == 202
    assert stored(storage) == 2


def test_a_request_that_is_refused_after_the_file_came_leaves_nothing(
    acme: Organization, api: Callable[..., Client], storage: Path
) -> None:
    client = api(acme, "read", "write")
    assert post(client, API, fields={"collection": "no uuid"}).status_code == 400
    assert post(client, API, fields={"external_id": "x" * 300}).status_code == 400
    assert stored(storage) == 0


def test_files_of_other_fields_are_not_kept(
    acme: Organization, api: Callable[..., Client], storage: Path
) -> None:
    response = api(acme, "read", "write").post(API, {"other": SimpleUploadedFile("a.txt", LARGE)})
    assert response.status_code == 400
    assert stored(storage) == 0


@pytest.fixture
def untouched(monkeypatch: pytest.MonkeyPatch) -> None:
    """No byte of a body may be read."""

    def read(*_: Any, **__: Any) -> bytes:
        raise AssertionError("the body was read")

    monkeypatch.setattr("django.core.handlers.wsgi.WSGIRequest.read", read)
    monkeypatch.setattr(TemporaryUploadedFile, "__init__", read)
    monkeypatch.setattr(intake.Intake, "write", read)


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("path", [API, f"{API}/archive"])
def test_a_session_that_may_not_upload_is_refused_before_the_file_is_read(
    path: str, acme: Organization, bob_client: Client
) -> None:
    response = post(bob_client, path, LARGE)
    assert (response.status_code, response.json()["error"]["code"]) == (403, "missing_scope")


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("path", [API, f"{API}/archive"])
def test_a_session_beyond_the_limits_is_refused_before_the_file_is_read(
    path: str, acme: Organization, alice_client: Client, settings: Any
) -> None:
    settings.ENV = settings.ENV.model_copy(update={"max_upload_mb": 1})
    response = post(alice_client, path, LARGE)
    assert (response.status_code, response.json()["error"]["code"]) == (413, "too_large")
    settings.ENV = settings.ENV.model_copy(update={"max_upload_mb": 100, "max_queued_files": 1})
    queue_files(acme, 1)
    response = post(alice_client, path, LARGE)
    assert (response.status_code, response.json()["error"]["code"]) == (429, "queue_full")


@pytest.mark.usefixtures("untouched")
def test_nobody_is_refused_before_the_file_is_read(acme: Organization, client: Client) -> None:
    assert post(client, API, LARGE).status_code == 401


def test_the_file_of_a_session_is_written_once(
    acme: Organization,
    alice_client: Client,
    storage: Path,
    received: list[Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def no_copy(*_: Any, **__: Any) -> None:
        raise AssertionError("a second copy was made")

    monkeypatch.setattr(TemporaryUploadedFile, "__init__", no_copy)
    assert post(alice_client, API, LARGE).status_code == 202
    assert isinstance(received[0], StoredUpload)
    assert stored(storage) == 1


def test_a_session_whose_upload_breaks_off_leaves_nothing(
    acme: Organization, alice_client: Client, storage: Path
) -> None:
    body = encode_multipart(BOUNDARY, {"file": SimpleUploadedFile("a.txt", LARGE)})
    response = alice_client.generic("POST", API, body[: len(body) // 2], MULTIPART_CONTENT)
    assert response.status_code == 400
    assert stored(storage) == 0
