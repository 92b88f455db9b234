"""Under ASGI the body of an upload is read as its view asks: not at all where headers tell, and no further than needed."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.test.client import BOUNDARY, MULTIPART_CONTENT, encode_multipart

from config.asgi import application
from search.models import DocumentVersion
from tenants.models import Organization
from tenants.scope import tenant_scope
from tests.ingestion.corpus_of_acme import upload
from tests.ingestion.ready_for_work import storage

pytestmark = pytest.mark.django_db(transaction=True)
__all__ = ["storage"]

BLOCK = 1 << 16
LARGE = b"A line of the long report of acme.\n" * 100_000
API = "/api/v1/documents"


class Sender:
    """A server's side of one upload: gives its body block by block and counts those that were asked for."""

    def __init__(self, content: bytes, *, name: str = "a.txt", breaks_off_after: int | None = None) -> None:
        body = encode_multipart(BOUNDARY, {"file": SimpleUploadedFile(name, content)})
        self.size = len(body)
        self.blocks = [body[n : n + BLOCK] for n in range(0, len(body), BLOCK)]
        self.given = 0
        self.breaks_off_after = breaks_off_after
        self.sent: list[Any] = []

    async def receive(self) -> dict[str, Any]:
        if self.given == self.breaks_off_after:
            return {"type": "http.disconnect"}
        if self.given == len(self.blocks):
            await asyncio.Event().wait()
        self.given += 1
        more = self.given < len(self.blocks)
        return {"type": "http.request", "body": self.blocks[self.given - 1], "more_body": more}

    async def send(self, message: Any) -> None:
        self.sent.append(message)

    def post(self, path: str, **headers: str) -> int | None:
        """The status of the answer; None without one."""
        given = {"host": "localhost", "content-type": MULTIPART_CONTENT, "content-length": str(self.size)}
        given |= {name.replace("_", "-"): value for name, value in headers.items()}
        pairs = [(name.encode(), value.encode()) for name, value in given.items()]
        scope = {"type": "http", "method": "POST", "path": path, "query_string": b"", "headers": pairs}
        asyncio.run(asyncio.wait_for(application(scope, self.receive, self.send), 60))
        return self.sent[0]["status"] if self.sent else None


@pytest.fixture
def bearer(acme: Organization, make_key: Any) -> str:
    return f"Bearer {make_key(acme, 'read', 'write')}"


def stored(storage: Path) -> int:
    return sum(path.is_file() for path in (storage / "files").rglob("*"))


def test_a_file_arrives_whole(acme: Organization, bearer: str, storage: Path) -> None:
    assert Sender(LARGE).post(API, authorization=bearer) == 202
    with tenant_scope(acme):
        version = DocumentVersion.objects.get()
    assert (storage / "files" / version.file).read_bytes() == LARGE


def test_who_may_not_upload_is_answered_before_the_body_is_read(
    acme: Organization, bearer: str, storage: Path, settings: Any
) -> None:
    settings.ENV = settings.ENV.model_copy(update={"max_queued_files": 1, "max_upload_mb": 4})
    nobody, large, full = Sender(LARGE), Sender(LARGE * 2), Sender(LARGE)
    assert nobody.post(API) == 401
    assert large.post(API, authorization=bearer) == 413
    upload(acme)
    assert full.post(API, authorization=bearer) == 429
    assert [sender.given for sender in (nobody, large, full)] == [0, 0, 0]


def test_a_program_is_refused_at_its_first_blocks(acme: Organization, bearer: str, storage: Path) -> None:
    sender = Sender(b"MZ" + b"\x90" * len(LARGE), name="report.pdf")
    assert sender.post(API, authorization=bearer) == 415
    assert sender.given <= 4
    assert len(sender.blocks) > 50
    assert stored(storage) == 0


def test_the_page_reads_as_it_arrives_too(acme: Organization, alice_client: Client, storage: Path) -> None:
    cookie = f"sessionid={alice_client.cookies['sessionid'].value}"
    sender = Sender(b"MZ" + b"\x90" * len(LARGE), name="report.pdf")
    assert sender.post("/o/acme/documents/upload", cookie=cookie, hx_request="true") == 415
    assert sender.given <= 4


def test_a_sender_that_goes_leaves_nothing(acme: Organization, bearer: str, storage: Path) -> None:
    Sender(LARGE, breaks_off_after=20).post(API, authorization=bearer)
    assert stored(storage) == 0
    with tenant_scope(acme):
        assert not DocumentVersion.objects.exists()
