"""Pages of a PDF that take too long are left to the next reader, or listed as without text; the rest is ready."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from reportlab.pdfgen import canvas

from ingestion import child_process, forking, time_left
from ingestion.child import parse_file
from ingestion.guards import IngestionFailure, Limits
from ingestion.parsed import ParsedDocument, ParsedPage, Unread
from ingestion.parsers import pdf
from ingestion.second_reading import read_again
from tests.ingestion import factories

SLOW = "BT /F1 8 Tf 1 0 0 1 72 600 Tm " + "() Tj " * 300_000 + "ET"
"""Takes pypdf five seconds, pdfium 20 ms."""


def with_slow_pages(path: Path, slow: range, count: int) -> Path:
    out = io.BytesIO()
    drawing = canvas.Canvas(out, pagesize=(595, 842))
    for number in range(1, count + 1):
        drawing.drawString(72, 700, f"page number {number}")
        if number in slow:
            drawing._code.append(SLOW)
        drawing.showPage()
    drawing.save()
    path.write_bytes(out.getvalue())
    return path


def test_slow_pages_together_longer_than_the_files_limit_are_read_by_the_next_reader(tmp_path: Path) -> None:
    path = with_slow_pages(tmp_path / "upload", range(2, 7), 8)
    document = parse_file(path, filename="a.pdf", limits=Limits(cpu_s=4, wall_s=60, page_s=1))
    assert [page.text for page in document.pages] == [f"page number {n}" for n in range(1, 9)]
    assert document.pages_without_text == ()


def test_what_comes_after_them_is_not_tried_once_the_time_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "upload"
    path.write_bytes(factories.make_pdf(["one", "two", "three"]))
    left = iter([100.0, 100.0, 2.0, -1.0])
    monkeypatch.setattr(pdf, "time_left", lambda limits: next(left, 0.0))
    document = pdf.parse(path, limits=Limits(), password=None)
    assert [(item.number, item.why) for item in document.unread] == [(2, "untried"), (3, "untried")]
    assert document.pages[0].text == "one"


def test_a_file_that_is_slow_to_open_is_left_to_the_other_reader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pypdf

    def endless(self: object, *_: object, **__: object) -> None:
        while True:
            sum(range(1000))

    path = tmp_path / "upload"
    path.write_bytes(factories.make_pdf(["one"]))
    monkeypatch.setattr(pypdf.PdfReader, "__init__", endless)
    document = pdf.parse(path, limits=Limits(cpu_s=1), password=None)
    assert [page.text for page in document.pages] == ["one"]


def test_time_is_that_of_the_process_since_it_began(monkeypatch: pytest.MonkeyPatch) -> None:
    assert time_left.time_left(Limits(cpu_s=60, wall_s=90)) == 60
    monkeypatch.setattr(time_left, "_begun", (time.process_time() - 70, time.monotonic()))
    assert -11 < time_left.time_left(Limits(cpu_s=60, wall_s=90)) <= -10
    monkeypatch.setattr(time_left, "_begun", (time.process_time(), time.monotonic() - 70))
    assert 19 < time_left.time_left(Limits(cpu_s=60, wall_s=90)) <= 20


def reads_with(monkeypatch: pytest.MonkeyPatch, folder: Path, source: str) -> Callable[[], None]:
    """Children in which ``by_pdfium`` does ``source`` before each page; call the result in the end."""
    (folder / "sitecustomize.py").write_text(
        "from ingestion.parsers import pdf\nimport time, signal, os, resource\nsound = pdf.by_pdfium\n"
        "def other(path, pages, password):\n    for number in pages:\n"
        f"        {source}\n"
        "        yield from sound(path, [number], password)\n"
        "pdf.by_pdfium = other\n"
    )
    paths = f"{folder}{os.pathsep}{forking.ENVIRONMENT['PYTHONPATH']}"
    monkeypatch.setitem(forking.ENVIRONMENT, "PYTHONPATH", paths)
    monkeypatch.setattr(forking, "_nurseries", forking._Nurseries())
    return lambda: forking._nurseries.close()


def request_of(path: Path, page_s: float) -> dict[str, Any]:
    return {
        "act": "pages", "path": str(path), "reader": "pdfium", "part": [], "password": None, "page_s": page_s
    }  # fmt: skip


def test_slow_pages_in_a_row_do_not_end_the_second_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "upload"
    path.write_bytes(factories.make_pdf([f"page {n}" for n in range(1, 7)]))
    done = reads_with(monkeypatch, tmp_path, "time.sleep(60) if number in (2, 3, 4) else None")
    found = child_process.run_pages(request_of(path, 0.5), [1, 2, 3, 4, 5, 6], Limits())
    done()
    assert found.texts == {1: "page 1", 5: "page 5", 6: "page 6"}
    assert found.fatal == {2, 3, 4}


def test_no_page_is_blamed_for_the_time_of_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "upload"
    path.write_bytes(factories.make_pdf([f"page {n}" for n in range(1, 7)]))
    burn = "ends = time.process_time() + 0.4\n        while time.process_time() < ends: pass"
    done = reads_with(monkeypatch, tmp_path, burn)
    found = child_process.run_pages(request_of(path, 20), [1, 2, 3, 4, 5, 6], Limits(cpu_s=1))
    done()
    assert found.texts == {n: f"page {n}" for n in range(1, 7)}
    assert found.fatal == set()


def test_pages_that_were_slow_are_read_last(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[list[int]] = []

    def reads_none(request: Any, pages: list[int], *_: Any, **__: Any) -> child_process.PageTexts:
        asked.append(list(pages))
        return child_process.PageTexts({3: "three"}, {1, 2})

    monkeypatch.setattr("ingestion.second_reading.run_pages", reads_none)
    pages = tuple(ParsedPage(n, "") for n in range(1, 5))
    unread = tuple(Unread(n, n, why) for n, why in enumerate(["timeout", "timeout", "untried", "untried"], 1))
    document = ParsedDocument("application/pdf", pages, unread=unread)
    read = read_again(document, path=tmp_path, limits=Limits(ocr_max_pages=0), password=None)
    assert asked == [[3, 4, 1, 2]]
    assert read.pages_without_text == (1, 2, 4)
    assert [page.text for page in read.pages] == ["", "", "three", ""]


def test_a_file_of_which_no_page_was_read_in_time_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(
        "ingestion.second_reading.run_pages", lambda *_, **__: child_process.PageTexts({}, {1})
    )
    document = ParsedDocument("application/pdf", (ParsedPage(1, ""),), unread=(Unread(1, 1, "untried"),))
    with pytest.raises(IngestionFailure) as failure:
        read_again(document, path=tmp_path, limits=Limits(), password=None)
    assert failure.value.code == "timeout"
