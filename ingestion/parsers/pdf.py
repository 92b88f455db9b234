"""PDF by pypdf: text by page, the outline as headings, the information dictionary.

A page that cannot be read counts as a page without text, as long as another one can.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from pathlib import Path
from typing import Any

from pypdf import PdfReader
from pypdf.errors import LimitReachedError

from ingestion.guards import IngestionFailure, Limits, TextBudget
from ingestion.parsed import Heading, ParsedDocument, ParsedPage
from ingestion.sniff import PDF
from ingestion.text import clean, one_line

MEDIA_TYPES = (PDF,)


def parse(path: Path, *, limits: Limits, password: str | None) -> ParsedDocument:
    """Raises ``encrypted``, ``too_many_pages``, ``too_large``; ``bomb``, ``malformed`` if no page is read."""
    reader = PdfReader(path, strict=False)
    if reader.is_encrypted and not reader.decrypt(password or ""):
        raise IngestionFailure("encrypted")
    count = len(reader.pages)
    if count > limits.max_pages:
        raise IngestionFailure("too_many_pages")
    budget = TextBudget(limits)
    texts: list[str] = []
    failures: list[Exception] = []
    for index in range(count):
        try:
            text = clean(reader.pages[index].extract_text() or "").strip()
        except (IngestionFailure, MemoryError):
            raise
        except Exception as error:  # pypdf raises six kinds of exception on broken pages
            failures.append(error)
            text = ""
        budget.spend(len(text))
        texts.append(text)
    if failures and not any(texts):
        if any(isinstance(error, LimitReachedError) for error in failures):
            raise IngestionFailure("bomb")
        texts = _by_pdfium(path, password, budget)
    headings = _headings(reader, texts)
    pages = tuple(ParsedPage(n + 1, text, tuple(headings.get(n, ()))) for n, text in enumerate(texts))
    title, author, created = _information(reader)
    return ParsedDocument(PDF, pages, title, author, created)


def _by_pdfium(path: Path, password: str | None, budget: TextBudget) -> list[str]:
    """The text of all pages by pdfium, for a file in which pypdf could read none.

    Only then, because pdfium ends its process on some files, and with it the pages that were read.
    """
    import pypdfium2 as pdfium

    texts: list[str] = []
    try:
        document = pdfium.PdfDocument(path, password=password)
        for page in document:
            texts.append(clean(page.get_textpage().get_text_bounded()).strip())
            budget.spend(len(texts[-1]))
    except pdfium.PdfiumError as error:
        raise IngestionFailure("malformed") from error
    if not any(texts):
        raise IngestionFailure("malformed")
    return texts


def _information(reader: PdfReader) -> tuple[str, str, date | None]:
    try:
        information = reader.metadata
        title = str(information.title or "") if information else ""
        author = str(information.author or "") if information else ""
    except Exception:  # a broken dictionary is no reason to refuse the text
        return "", "", None
    try:
        created = information.creation_date if information else None
    except Exception:  # dates are often malformed
        created = None
    return title, author, created.date() if created else None


def _headings(reader: PdfReader, texts: list[str]) -> dict[int, list[Heading]]:
    """Outline entries whose title is found on the page they point to, in the order of the page."""
    found: dict[int, list[Heading]] = {}
    try:
        entries = list(_flat(reader.outline, 1))[:5000]
    except Exception:  # cyclic or broken outlines
        return found
    for title, level, item in entries:
        try:
            index = reader.get_destination_page_number(item)
        except Exception:  # noqa: S112  a destination outside the document
            continue
        if index is None or not 0 <= index < len(texts) or not title:
            continue
        start = texts[index].find(title)
        if start >= 0 and all(heading.start != start for heading in found.get(index, ())):
            found.setdefault(index, []).append(Heading(start, level, title[:300]))
    return {index: sorted(headings, key=lambda heading: heading.start) for index, headings in found.items()}


def _flat(entries: Iterable[Any], level: int) -> Iterable[tuple[str, int, Any]]:
    for entry in entries:
        if isinstance(entry, list):
            yield from _flat(entry, level + 1)
        else:
            yield one_line(str(entry.title or "")), min(level, 9), entry
