"""Pages without text are read again: by pdfium, and what is still blank from its picture (OCR).

What always holds: what the first reader found is never lost by it, whatever becomes of a page that is read again,
since pdfium, which ends its process on some files, reads in children of its own; a page that no reader finds text on
is named in ``pages_without_text``; pages that were slow before are read last, so that they cost no other; and a document without any text is a failure that says what would help.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Final

from ingestion.child_process import PageTexts, run_pages
from ingestion.guards import Code, IngestionFailure, Limits, TextBudget
from ingestion.parsed import Drawn, ParsedDocument, ParsedPage, Unread, headings_in

_WORSE_THAN_EMPTY: Final[tuple[Code, ...]] = ("bomb", "too_large", "timeout", "malformed")
OnPage = Callable[[int, int], None]


def ocr_installed() -> bool:
    """Whether the optional packages of text recognition are there."""
    return all(importlib.util.find_spec(name) is not None for name in ("rapidocr", "onnxruntime"))


def read_again(
    document: ParsedDocument,
    *,
    path: Path,
    limits: Limits,
    password: str | None,
    on_page: OnPage | None = None,
) -> ParsedDocument:
    """The document with the text that other readers find on its unread pages.

    ``on_page`` is told how many of how many pages are read. Raises ``too_large`` for too much text, and, where no page
    has text in the end, ``bomb``, ``malformed`` or ``empty``.
    """
    texts = {page.number: page.text for page in document.pages}
    total = len(texts)
    done = sum(bool(text.strip()) for text in texts.values())

    def told() -> None:
        nonlocal done
        done = min(done + 1, total)
        if on_page is not None:
            on_page(done, total)

    slow_last = sorted(document.unread, key=lambda item: (item.why == "timeout", item.page))
    by_pdfium = read_pages("pdfium", slow_last, path, limits, password, told)
    for item in document.unread:
        text = by_pdfium.texts.get(item.page, "")
        if item.why != "absurd" or 0 < len(text) < len(texts[item.page]) / 2 or not texts[item.page]:
            texts[item.page] = text
    blank = [item for item in document.unread if not texts[item.page] and item.page not in by_pdfium.fatal]
    done = total - len(blank)
    by_ocr = PageTexts()
    if blank and limits.ocr_max_pages and ocr_installed():
        slow = replace(
            limits,
            memory_mb=limits.ocr_memory_mb,
            cpu_s=limits.ocr_page_s * limits.ocr_max_pages,
            wall_s=limits.ocr_page_s * limits.ocr_max_pages,
        )
        by_ocr = read_pages("ocr", blank[: limits.ocr_max_pages], path, slow, password, told)
        texts |= by_ocr.texts
    return _finished(document, texts, by_ocr, limits)


def read_pages(
    reader: str,
    items: Iterable[Unread | Drawn],
    path: Path,
    limits: Limits,
    password: str | None,
    told: Callable[[], None] | None = None,
) -> PageTexts:
    """The texts by page of the document, of the uploaded file and of the attachments that hold such pages; those of each
    file in the order given."""
    files: dict[tuple[int, ...], dict[int, int]] = {}
    for item in items:
        files.setdefault(item.part, {})[item.number] = item.page
    together = PageTexts()
    for part, pages in files.items():
        request = {
            "act": "pages", "path": str(path), "reader": reader, "part": part, "password": password,
            "page_s": limits.ocr_page_s if reader == "ocr" else limits.page_s,
        }  # fmt: skip
        found = run_pages(request, list(pages), limits, on_page=told)
        together.texts |= {pages[number]: text for number, text in found.texts.items()}
        together.fatal |= {pages[number] for number in found.fatal}
    return together


def _finished(
    document: ParsedDocument, texts: dict[int, str], by_ocr: PageTexts, limits: Limits
) -> ParsedDocument:
    budget = TextBudget(limits)
    again = {item.page: item for item in document.unread}
    pages: list[ParsedPage] = []
    for page in document.pages:
        text = texts[page.number]
        budget.spend(len(text))
        if text != page.text:
            page = replace(page, text=text, headings=headings_in(text, again[page.number].outline))
        pages.append(page)
    without = tuple(page.number for page in pages if not page.text.strip())
    if len(without) == len(pages):
        raise _failure({item.why for item in document.unread}, limits)
    return replace(
        document,
        pages=tuple(pages),
        pages_without_text=without,
        pages_by_ocr=tuple(sorted(page for page, text in by_ocr.texts.items() if text.strip())),
        unread=(),
    )


def _failure(reasons: set[str], limits: Limits) -> IngestionFailure:
    """Why a document is without any text."""
    for code in _WORSE_THAN_EMPTY:
        if code in reasons or (code == "timeout" and "untried" in reasons):
            return IngestionFailure(code)
    if not limits.ocr_max_pages or not ocr_installed():
        return IngestionFailure(
            "empty",
            "No page of the file holds text: they are blank, or pictures such as scans.",
            remedy="Run text recognition (OCR) over the file and upload the result, or ask the operator to switch "
            "it on here: the optional packages `tessera[ocr]`, requirements/ocr-lock.txt.",
        )
    return IngestionFailure(
        "empty",
        "No text was found on any page, neither in the file nor in the pictures of its pages.",
        remedy="Check that the pages can be read, and upload a sharper scan.",
    )
