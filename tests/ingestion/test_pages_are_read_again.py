"""A page that the first reader cannot read is read by another, and nothing that was read is lost by it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from pypdf import PdfReader, PdfWriter
from pypdf.generic import ArrayObject, DecodedStreamObject, NameObject

from ingestion import child_process, forking
from ingestion.child import parse_file
from ingestion.guards import Limits
from ingestion.parsers import pdf
from tests.ingestion import factories

ROOT = Path(__file__).resolve().parents[2]


def with_a_page_that_pypdf_cannot_read(tmp_path: Path) -> Path:
    """Three pages; the content of the second ends in a hexadecimal string that is cut off."""
    (tmp_path / "whole.pdf").write_bytes(factories.make_pdf(["the first", "the second", "the third"]))
    writer = PdfWriter(PdfReader(tmp_path / "whole.pdf"))
    page = writer.pages[1]
    broken = DecodedStreamObject()
    broken.set_data(page.get_contents().get_data() + b"\nBT <41")  # type: ignore[union-attr]
    page[NameObject("/Contents")] = ArrayObject([writer._add_object(broken)])
    writer.write(tmp_path / "upload")
    with pytest.raises(Exception, match="ended unexpectedly"):
        PdfReader(tmp_path / "upload").pages[1].extract_text()
    return tmp_path / "upload"


def test_a_page_that_pypdf_cannot_read_is_read_by_pdfium(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    document = parse_file(
        with_a_page_that_pypdf_cannot_read(tmp_path),
        filename="a.pdf",
        limits=Limits(),
        on_page=lambda done, total: told.append((done, total)),
    )
    assert [page.text for page in document.pages] == ["the first", "the second", "the third"]
    assert (document.pages_without_text, document.pages_by_ocr, document.unread) == ((), (), ())
    assert told == [(3, 3)]


def test_an_attachment_is_read_again_too(tmp_path: Path) -> None:
    inner, outer = EmailMessage(), EmailMessage()
    data = with_a_page_that_pypdf_cannot_read(tmp_path).read_bytes()
    inner["Subject"], inner["From"], inner["To"] = "Inner", "alice@acme.example", "bob@acme.example"
    inner.set_content("See the attachment.")
    inner.add_attachment(b"a note", maintype="text", subtype="plain", filename="note.txt")
    inner.add_attachment(data, maintype="application", subtype="pdf", filename="scan.pdf")
    outer["Subject"], outer["From"], outer["To"] = "Outer", "alice@acme.example", "bob@acme.example"
    outer.add_attachment(inner)
    (tmp_path / "upload").write_bytes(outer.as_bytes())
    document = parse_file(tmp_path / "upload", filename="a.eml", limits=Limits())
    assert [page.text for page in document.pages][3:] == ["the first", "the second", "the third"]
    assert [page.number for page in document.pages] == [1, 2, 3, 4, 5, 6]


def test_a_reader_that_dies_costs_one_page_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pdfium aborts its process on some files: here on every second of the pages that are left to it."""
    path = tmp_path / "upload"
    path.write_bytes(factories.make_pdf([f"page {n}" for n in range(1, 6)]))
    request: dict[str, Any] = {
        "act": "pages", "path": str(path), "reader": "pdfium", "part": [], "password": None, "page_s": 20
    }  # fmt: skip
    (tmp_path / "sitecustomize.py").write_text(
        "from ingestion.parsers import pdf\n"
        "import os\n"
        "sound = pdf.by_pdfium\n"
        "def dying(path, pages, password):\n"
        "    for number, text in sound(path, pages, password):\n"
        "        os.abort() if number % 2 == 0 else None\n"
        "        yield number, text\n"
        "pdf.by_pdfium = dying\n"
    )
    paths = f"{tmp_path}{os.pathsep}{forking.ENVIRONMENT['PYTHONPATH']}"
    monkeypatch.setitem(forking.ENVIRONMENT, "PYTHONPATH", paths)
    monkeypatch.setattr(forking, "_nurseries", forking._Nurseries())
    found = child_process.run_pages(request, [1, 2, 3, 4, 5], Limits())
    forking._nurseries.close()
    assert found.texts == {1: "page 1", 3: "page 3", 5: "page 5"}
    assert found.fatal == {2, 4}


def test_readers_that_only_die_are_not_started_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[int] = []

    def dies(request: dict[str, Any], *_: object, **__: object) -> int:
        begun.append(request["pages"][0])
        return -signal.SIGABRT

    monkeypatch.setattr(child_process, "_read_some", dies)
    found = child_process.run_pages({}, list(range(1, 500)), Limits())
    assert begun == [1, 2]
    assert found.fatal == {1, 2}


def test_a_page_that_takes_too_long_ends_its_reader() -> None:
    source = (
        "import signal; from ingestion.page_texts import _timed\n"
        "def pages():\n"
        "    yield 1, ''\n"
        "    signal.pause()\n"
        "list(_timed(pages(), 0.3))\n"
    )
    ended = subprocess.run([sys.executable, "-c", source], cwd=ROOT, timeout=30)
    assert ended.returncode == -signal.SIGALRM


def test_absurdly_much_text_is_replaced_by_less(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "upload"
    path.write_bytes(factories.make_pdf(["a page of few words"]))
    from pypdf import PageObject

    monkeypatch.setattr(PageObject, "extract_text", lambda self: "again and " * (pdf.ABSURD // 8))
    document = pdf.parse(path, limits=Limits(), password=None)
    assert [item.why for item in document.unread] == ["absurd"]
    from ingestion.second_reading import read_again

    told = read_again(document, path=path, limits=Limits(), password=None)
    assert told.pages[0].text == "a page of few words"


def test_a_page_that_takes_pypdf_too_long_is_left_to_the_other_reader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "upload"
    path.write_bytes(factories.make_pdf(["slow"]))
    from pypdf import PageObject

    def endless(self: object) -> str:
        while True:
            with contextlib.suppress(Exception):
                sum(range(1000))

    monkeypatch.setattr(PageObject, "extract_text", endless)
    document = pdf.parse(path, limits=Limits(page_s=1), password=None)
    assert [(item.number, item.why) for item in document.unread] == [(1, "timeout")]
