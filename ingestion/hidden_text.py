"""Text that the readers of a file do not see is left out before anything is made of it, and its pages are named (T33).

Parsers of HTML and Word leave out what their formats hide. For PDF each page is drawn (:mod:`ingestion.visible`), in
children of their own as for every use of pdfium. What always holds: a page that could not be looked at in time, or ended
its child, stays as it was read.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ingestion.guards import IngestionFailure, Limits
from ingestion.parsed import HIDDEN, ParsedDocument, headings_in
from ingestion.second_reading import read_pages


def leave_out(
    document: ParsedDocument, *, path: Path, limits: Limits, password: str | None
) -> ParsedDocument:
    """The document without hidden text. Raises ``empty`` where nothing else was in it."""
    with_text = {page.number for page in document.pages if page.text} - set(document.pages_by_ocr)
    asked = [each for each in document.drawn if each.page in with_text]
    if not asked:
        return document
    looked = read_pages("visible", asked, path, limits, password)
    seen = {number: text[1:] for number, text in looked.texts.items() if text.startswith(HIDDEN)}
    if not seen:
        return document
    pages = tuple(
        replace(
            page,
            text=seen[page.number],
            headings=headings_in(seen[page.number], ((each.text, each.level) for each in page.headings)),
        )
        if page.number in seen
        else page
        for page in document.pages
    )
    if not any(page.text for page in pages):
        raise IngestionFailure(
            "empty",
            "All text of the file is hidden: its readers see none.",
            remedy="Check that it is the file you mean; pages of pictures need text recognition (OCR) first.",
        )
    without = sorted({*document.pages_without_text, *(number for number, text in seen.items() if not text)})
    return replace(
        document,
        pages=pages,
        pages_without_text=tuple(without),
        pages_with_hidden_text=tuple(sorted({*document.pages_with_hidden_text, *seen})),
    )
