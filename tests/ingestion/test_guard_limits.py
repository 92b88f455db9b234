"""A file that costs more than its limits fails with a fitting code, and the caller lives on."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from email.message import EmailMessage
from pathlib import Path

import pytest

from ingestion.child import parse_file
from ingestion.child_process import death
from ingestion.guards import IngestionFailure, Limits
from tests.ingestion import factories

LAUGHS = b'<?xml version="1.0"?><!DOCTYPE l [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;">]><l>&b;</l>'
OUTSIDE = b'<?xml version="1.0"?><!DOCTYPE l [<!ENTITY a SYSTEM "file:///etc/passwd">]>'
ROOT = Path(__file__).resolve().parents[2]


def code_of(tmp_path: Path, name: str, data: bytes, limits: Limits) -> str:
    path = tmp_path / "upload"
    path.write_bytes(data)
    with pytest.raises(IngestionFailure) as failure:
        parse_file(path, filename=name, limits=limits)
    return failure.value.code


def test_an_archive_that_unpacks_too_far_is_a_bomb(tmp_path: Path) -> None:
    data = factories.with_part(factories.make_docx(), "word/media/zeros.bin", bytes(40_000_000))
    assert code_of(tmp_path, "a.docx", data, Limits()) == "bomb"
    assert code_of(tmp_path, "a.docx", data, Limits(max_archive_ratio=10_000, max_unpacked_mb=20)) == "bomb"


def test_an_archive_of_too_many_entries_is_a_bomb(tmp_path: Path) -> None:
    assert code_of(tmp_path, "a.docx", factories.make_docx(), Limits(max_archive_entries=5)) == "bomb"


def test_the_bytes_that_come_out_count_not_those_declared(tmp_path: Path) -> None:
    data = factories.with_part(
        factories.make_docx(), "word/document.xml", b"<x>" + b" " * 3_000_000 + b"</x>"
    )
    lying = data.replace((3_000_007).to_bytes(4, "little"), (900).to_bytes(4, "little"))
    assert lying != data
    assert code_of(tmp_path, "a.docx", lying, Limits()) == "malformed"


@pytest.mark.parametrize("part", ["word/document.xml", "word/styles.xml", "docProps/core.xml"])
def test_declared_entities_are_refused(part: str, tmp_path: Path) -> None:
    assert (
        code_of(tmp_path, "a.docx", factories.with_part(factories.make_docx(), part, LAUGHS), Limits())
        == "bomb"
    )


def test_an_outside_entity_is_never_read(tmp_path: Path) -> None:
    space = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
    body = f"<w:document {space}><w:body><w:p><w:r>"
    body += "<w:t>before &a; after</w:t></w:r></w:p></w:body></w:document>"
    path = tmp_path / "upload"
    path.write_bytes(factories.with_part(factories.make_docx(), "word/document.xml", OUTSIDE + body.encode()))
    text = parse_file(path, filename="a.docx", limits=Limits()).pages[0].text
    assert "before" in text
    assert "root:" not in text


def test_too_many_pages(tmp_path: Path) -> None:
    assert (
        code_of(tmp_path, "a.pdf", factories.make_pdf(["a", "b", "c"]), Limits(max_pages=2))
        == "too_many_pages"
    )


def test_too_much_text(tmp_path: Path) -> None:
    assert code_of(tmp_path, "a.txt", b"word " * 300, Limits(max_characters=1000)) == "too_large"


def test_too_little_memory(tmp_path: Path) -> None:
    data = b"a,b\n" + b"some words,other words\n" * 1_000_000
    assert code_of(tmp_path, "a.csv", data, Limits(memory_mb=160)) == "too_large"


def test_the_wall_clock_ends_the_child(tmp_path: Path) -> None:
    begun = time.monotonic()
    rows = b"a,b\n" + b"some words,other words\n" * 500_000
    assert code_of(tmp_path, "a.csv", rows, Limits(wall_s=1)) == "timeout"
    assert time.monotonic() - begun < 10


def test_the_processor_time_ends_the_child(tmp_path: Path) -> None:
    rows = b"a,b\n" + b"some words,other words\n" * 500_000
    assert code_of(tmp_path, "a.csv", rows, Limits(cpu_s=1)) == "timeout"


def test_a_child_that_is_ended_leaves_no_copy_of_an_attachment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    mail = EmailMessage()
    mail["From"], mail["Subject"] = "alice@acme.example", "Rows"
    mail.add_attachment(b"a,b\n" + b"some words,other words\n" * 500_000, maintype="text", subtype="csv",
                        filename="rows.csv")  # fmt: skip
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    assert code_of(tmp_path, "a.eml", mail.as_bytes(), Limits(cpu_s=2)) == "timeout"
    assert not list((tmp_path / "temporary").iterdir())


def test_every_way_to_die_has_a_code() -> None:
    assert [death(status).code for status in (-24, -9, -6, -11, 1)] == [
        "timeout", "too_large", "malformed", "malformed", "malformed"
    ]  # fmt: skip


def test_the_child_imports_neither_django_nor_torch_and_cannot_connect() -> None:
    source = (
        "import sys, socket; sys.path.insert(0, sys.argv[1])\n"
        "from ingestion import parse_child, pages\n"
        "from ingestion.parsers import registry\n"
        "from ingestion import ocr, formats, page_texts\n"
        "formats.parsers()\n"
        "assert not {'django', 'torch', 'numpy'} & set(sys.modules)\n"
        "sys.addaudithook(parse_child._forbid)\n"
        "try: socket.create_connection(('127.0.0.1', 9))\n"
        "except PermissionError: print('refused')\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", source, str(ROOT)], capture_output=True, text=True, check=True
    )
    assert ended.stdout == "refused\n"


def test_the_password_opens_a_protected_pdf(tmp_path: Path) -> None:
    import io

    from pypdf import PdfReader, PdfWriter

    writer = PdfWriter(PdfReader(io.BytesIO(factories.make_pdf(["the vault"]))))
    writer.encrypt("sesame", algorithm="AES-256")
    path = tmp_path / "upload"
    writer.write(path)
    assert code_of(tmp_path, "a.pdf", path.read_bytes(), Limits()) == "encrypted"
    assert parse_file(path, filename="a.pdf", limits=Limits(), password="sesame").pages[0].text == "the vault"
