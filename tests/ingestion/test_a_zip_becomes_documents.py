"""A zip becomes one document per member; each is accepted or refused by itself, and the answer tells of every one."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from ingestion import zips
from ingestion.bundles import Bundle, accept_bundle
from ingestion.models import IngestionJob, Priority
from ingestion.uploads import UploadRefused
from search.models import Document
from tenants.models import Organization
from tenants.scope import tenant_scope
from tests.ingestion.corpus_of_acme import POLICY, upload
from tests.ingestion.factories import make_docx, make_zip
from tests.ingestion.ready_for_work import storage

pytestmark = [pytest.mark.django_db]
__all__ = ["storage"]

ROUTE = "/api/v1/documents/archive"
MIXED = make_zip(
    {
        "policies/travel.md": POLICY,
        "policies/../../etc/passwd": b"root",
        "program.exe": b"MZ" + b"\x90" * 300,
        "inner.zip": make_zip({"a.txt": b"nested"}),
        "letter.docx": make_docx(),
        "empty.txt": b"",
        "zeros.txt": b"0" * (20 << 20),
        "__MACOSX/._travel.md": b"litter",
        ".DS_Store": b"litter",
    }
)


def take(organization: Organization, content: bytes, **more: Any) -> Bundle:
    stream = SimpleUploadedFile("all.zip", content)
    return accept_bundle(organization=organization, user=None, name="all.zip", stream=stream, **more)


def stored(storage: Path) -> int:
    return sum(path.is_file() for path in (storage / "files").rglob("*"))


def test_good_members_are_queued_in_bulk_and_bad_ones_are_named_with_the_reason(
    acme: Organization, storage: Path
) -> None:
    bundle = take(acme, MIXED)
    assert [each.name for each in bundle.accepted] == ["policies/travel.md", "letter.docx"]
    assert {each.name: each.code for each in bundle.refused} == {
        "policies/../../etc/passwd": "unsafe_name",
        "program.exe": "unsupported",
        "inner.zip": "archive",
        "empty.txt": "empty",
        "zeros.txt": "bomb",
    }
    assert all(each.message and each.remedy for each in bundle.refused)
    with tenant_scope(acme):
        assert set(Document.objects.values_list("title", flat=True)) == {"travel.md", "letter.docx"}
        assert set(IngestionJob.objects.values_list("priority", flat=True)) == {Priority.BULK}
    assert stored(storage) == 2, "the zip itself is not kept"


def test_a_damaged_member_stalls_no_other(acme: Organization, storage: Path) -> None:
    content = bytearray(
        make_zip({"a.txt": b"first " * 99, "b.txt": b"second " * 99, "c.txt": b"third " * 99})
    )
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        start = archive.getinfo("b.txt").header_offset
    content[start + 38] ^= 0xFF
    bundle = take(acme, bytes(content))
    assert [each.name for each in bundle.accepted] == ["a.txt", "c.txt"]
    assert [(each.name, each.code) for each in bundle.refused] == [("b.txt", "malformed")]
    assert stored(storage) == 2


def test_with_an_external_id_the_next_zip_replaces_what_changed(acme: Organization, storage: Path) -> None:
    first = take(acme, make_zip({"a.txt": b"one", "d/b.txt": b"same"}), external_id="wiki")
    second = take(acme, make_zip({"a.txt": b"two", "d/b.txt": b"same"}), external_id="wiki")
    assert [each.document_id for each in first.accepted] == [each.document_id for each in second.accepted]
    with tenant_scope(acme):
        ids = Document.objects.values_list("external_id", flat=True)
        assert set(ids) == {"wiki/a.txt", "wiki/d/b.txt"}
        assert IngestionJob.objects.count() == 3


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (make_docx(), "not_a_zip"),
        (b"just words", "unsupported"),
        (make_zip({f"{n}.txt": b"x" for n in range(zips.MOST_MEMBERS + 1)}), "too_large"),
    ],
    ids=["a document", "no zip", "too many"],
)
def test_what_is_no_zip_of_a_sensible_size_is_refused_whole(
    acme: Organization, storage: Path, content: bytes, code: str
) -> None:
    with pytest.raises(UploadRefused) as refusal:
        take(acme, content)
    assert refusal.value.code == code
    assert stored(storage) == 0


def test_a_directory_of_millions_is_refused_before_it_is_read(
    acme: Organization, storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = bytearray(make_zip({"a.txt": b"words"}))
    end = content.rfind(b"PK\x05\x06")
    struct.pack_into("<L", content, end + 12, zips.MOST_DIRECTORY + 1)
    monkeypatch.setattr(zipfile, "ZipFile", None)
    with pytest.raises(UploadRefused):
        take(acme, bytes(content))


def _zip64_of(size: int) -> bytes:
    """A directory whose true size stands in the record for large archives, and a small one in the plain record."""
    head, directory = b"PK\x03\x04" + bytes(26), bytes(size)
    record = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, 1, 1, size, len(head))
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, len(head) + size, 1)
    return (
        head + directory + record + locator + struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1, 1, 100, 30, 0)
    )


def _signed_twice(size: int) -> bytes:
    """The sign of the end record stands within it again, where its own fields lie."""
    head = b"PK\x03\x04" + bytes(26)
    return (
        head + bytes(size) + struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 60000, 60000, size, 0x06054B50, 0)
    )


@pytest.mark.parametrize("made", [_zip64_of, _signed_twice])
def test_a_directory_cannot_hide_its_size(
    made: Callable[[int], bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zipfile, "ZipFile", None)
    file = tmp_path / "a.zip"
    file.write_bytes(made(zips.MOST_DIRECTORY + 1))
    assert not zips.holds_documents(file)
    with file.open("rb") as stream, pytest.raises(UploadRefused):
        zips.open_zip(stream)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_method_that_unpacks_without_bounds_is_refused(
    acme: Organization, storage: Path, method: int
) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a.txt", b"words", compress_type=method)
        archive.writestr("b.txt", b"words too", compress_type=zipfile.ZIP_DEFLATED)
    bundle = take(acme, packed.getvalue())
    assert [each.name for each in bundle.accepted] == ["b.txt"]
    assert [(each.name, each.code) for each in bundle.refused] == [("a.txt", "unsupported")]


def test_a_zip_that_unpacks_to_too_much_is_refused_whole(
    acme: Organization, storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zips, "MOST_UNPACKED", 10)
    with pytest.raises(UploadRefused) as refusal:
        take(acme, make_zip({"a.txt": b"eleven bytes"}))
    assert (refusal.value.status, refusal.value.code) == (413, "bomb")


def test_a_plain_zip_is_no_document_and_an_office_file_is_one(acme: Organization, storage: Path) -> None:
    with pytest.raises(UploadRefused) as refusal:
        upload(acme, "all.zip", make_zip({"a.txt": b"words"}))
    assert (refusal.value.status, refusal.value.code) == (415, "archive")
    assert stored(storage) == 0
    assert upload(acme, "letter.docx", make_docx())


def test_over_the_api(acme: Organization, api: Callable[..., Client], storage: Path) -> None:
    client = api(acme, "read", "write")
    response = client.post(ROUTE, {"file": SimpleUploadedFile("all.zip", MIXED), "external_id": "hr"})
    assert response.status_code == 202, response.content
    body = response.json()
    assert [each["name"] for each in body["accepted"]] == ["policies/travel.md", "letter.docx"]
    assert client.get(f"/api/v1/documents/{body['accepted'][0]['id']}").json()["external_id"] == (
        "hr/policies/travel.md"
    )
    assert body["refused"][0] == {
        "name": "policies/../../etc/passwd",
        "error": {
            "code": "unsafe_name",
            "message": "The name leads out of the zip.",
            "remedy": "Make the zip anew, from inside its folder.",
        },
    }
    assert api(acme, "read").post(ROUTE, {"file": SimpleUploadedFile("a.zip", MIXED)}).status_code == 403


def test_on_the_page_each_member_has_a_row(acme: Organization, alice_client: Client, storage: Path) -> None:
    file = SimpleUploadedFile("all.zip", MIXED)
    response = alice_client.post("/o/acme/documents/upload", {"file": file}, headers={"HX-Request": "true"})
    assert response.status_code == 200
    body = response.content.decode()
    assert body.count('class="document-row"') == 7
    assert "travel.md" in body
    assert "leads out of the zip" in body
