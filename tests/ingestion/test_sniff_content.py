"""The type of a file comes from its content; its name only decides between kinds of text."""

from __future__ import annotations

from pathlib import Path

import pytest

from ingestion.guards import IngestionFailure
from ingestion.parsers.csv import CSV
from ingestion.parsers.docx import DOCX
from ingestion.parsers.html import HTML
from ingestion.parsers.markdown import MARKDOWN
from ingestion.parsers.pdf import PDF
from ingestion.parsers.pptx import PPTX
from ingestion.parsers.text import TEXT
from ingestion.parsers.xlsx import XLSX
from ingestion.sniff import sniff
from tests.ingestion import factories

OLE2 = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600)


@pytest.mark.parametrize(
    ("data", "name", "kind"),
    [
        (factories.make_pdf(["x"]), "photo.jpg", PDF),
        (factories.make_docx(), "report.pdf", DOCX),
        (factories.make_pptx(), "noname", PPTX),
        (factories.make_xlsx(), "table.txt", XLSX),
        (b"<!DOCTYPE html><html><p>x</p></html>", "page.txt", HTML),
        (b"# Title\n\nSee [this](http://a.b).\n", "readme", MARKDOWN),
        (b"plain words", "readme.md", MARKDOWN),
        (b"a,b\n1,2\n3,4\n", "data", CSV),
        (b"a,b\n1,2\n3,4\n", "data.txt", TEXT),
        (b"plain words", "noname", TEXT),
        (b"MZ built motorcycles.", "history.txt", TEXT),
        (b"ID3;Name\n1;Bob\n", "people.csv", CSV),
        (b"A file that begins with %PDF-1.7 is a PDF.", "formats.md", MARKDOWN),
        (b"scanner junk\n" + factories.make_pdf(["x"]), "noname", PDF),
    ],
)
def test_kind_follows_content(data: bytes, name: str, kind: str, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(data)
    assert sniff(tmp_path / "f", name) == kind


@pytest.mark.parametrize(
    ("data", "name", "code"),
    [
        (b"MZ\x90\x00%PDF-1.7", "invoice.pdf", "unsupported"),
        (b"\x7fELF" + bytes(64), "notes.txt", "unsupported"),
        (b"MZ\x90\x00\x03\x00 This program cannot be run", "notes.txt", "unsupported"),
        (b"\x89PNG\r\n\x1a\n", "a.pdf", "unsupported"),
        (b"<html>%PDF-1.4</html>", "a.pdf", "unsupported"),
        (b"just words", "a.docx", "unsupported"),
        (bytes(range(1, 32)) * 20, "a.txt", "unsupported"),
        (OLE2, "a.doc", "unsupported"),
        (OLE2 + "EncryptedPackage".encode("utf-16-le"), "a.docx", "encrypted"),
        (factories.make_zip({"a.txt": b"x"}), "a.docx", "unsupported"),
        (b"PK\x03\x04 broken", "a.docx", "malformed"),
        (b"", "a.pdf", "empty"),
    ],
)
def test_others_are_refused(data: bytes, name: str, code: str, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(data)
    with pytest.raises(IngestionFailure) as failure:
        sniff(tmp_path / "f", name)
    assert failure.value.code == code
