"""PDF by pypdf: text by page, the outline as headings, the information dictionary.

A page that pypdf cannot read, finds no text on or absurdly much, or takes too long for, is left to
:mod:`ingestion.second_reading`, which has it read by pdfium; and so is what comes after it once most of the file's time is
gone, so that slow pages never cost the file. pdfium reads here only a file that pypdf cannot open at
all: it ends its process on some files, and with it what was read before.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ingestion.formats import Format
from ingestion.guards import IngestionFailure, Limits, TextBudget, wrong_password
from ingestion.parsed import Drawn, ParsedDocument, ParsedPage, Unread, headings_in
from ingestion.text import clean, one_line
from ingestion.time_left import time_left

if TYPE_CHECKING:
    from pypdf import PdfReader

PDF = "application/pdf"
FORMAT = Format(
    media_type=PDF, name="PDF", extensions=("pdf",), paged=True, magic=b"%PDF-", magic_within=1024
)
ABSURD: Final = 100_000
"""Characters that no page of print holds: repeated forms, or a loop that the reader did not notice."""
_OF_THE_TIME: Final = 0.75
"""So much of the file's time goes to its pages; the rest is for what comes after them."""
_MAX_OUTLINE: Final = 5000
_LONGEST_LABEL: Final = 20


def parse(path: Path, *, limits: Limits, password: str | None) -> ParsedDocument:
    """Raises ``encrypted``, ``too_many_pages``, ``too_large``; ``malformed`` if no reader can open the file."""
    from pypdf import PdfReader

    try:
        with _at_most(_left_for_pages(limits) / 2):
            reader = PdfReader(path, strict=False)
            protected = _decrypt(reader, password)
            count = len(reader.pages)
    except (IngestionFailure, MemoryError):
        raise
    except (Exception, _TooSlow):  # pypdf raises anything on broken files
        return _whole_by_pdfium(path, limits, password)
    if count > limits.max_pages:
        raise IngestionFailure("too_many_pages")
    read = _read(reader, count, limits)
    outline = _outline(reader, count, min(limits.page_s, max(0.1, time_left(limits) / 3)))
    labels = _labels(reader, count, min(limits.page_s, max(0.1, time_left(limits) / 3)))
    pages = tuple(
        ParsedPage(n + 1, text, headings_in(text, outline.get(n, ())), labels.get(n, ""))
        for n, text in enumerate(read.texts)
    )
    unread = tuple(
        Unread(n + 1, n + 1, why, outline=tuple(outline.get(n, ()))) for n, why in sorted(read.doubts.items())
    )
    title, author, created = _information(reader)
    drawn = tuple(Drawn(page.number, page.number) for page in pages)
    return ParsedDocument(PDF, pages, title, author, created, protected=protected, unread=unread, drawn=drawn)


def by_pdfium(path: Path, pages: Iterable[int], password: str | None) -> Iterator[tuple[int, str | None]]:
    """Number and text of each of ``pages`` (from 1) as pdfium reads them; None where it cannot."""
    import pypdfium2 as pdfium

    document = pdfium.PdfDocument(path, password=password)
    for number in pages:
        try:
            text: str | None = clean(document[number - 1].get_textpage().get_text_bounded()).strip()
        except (pdfium.PdfiumError, IndexError):
            text = None
        yield number, text


def _decrypt(reader: PdfReader, password: str | None) -> bool:
    """Opens a protected file; whether it took the password. Raises ``encrypted``."""
    if not reader.is_encrypted or reader.decrypt(""):
        return False
    if not password:
        raise IngestionFailure("encrypted")
    if not reader.decrypt(password):
        raise wrong_password()
    return True


@dataclass(slots=True)
class _Read:
    """Texts by index, and for the index of each doubtful one the reason."""

    texts: list[str] = field(default_factory=list)
    doubts: dict[int, str] = field(default_factory=dict)


def _left_for_pages(limits: Limits) -> float:
    """Seconds; 0 when they are over."""
    return max(0.0, time_left(limits) - (1 - _OF_THE_TIME) * min(limits.cpu_s, limits.wall_s))


def _read(reader: PdfReader, count: int, limits: Limits) -> _Read:
    from pypdf.errors import LimitReachedError

    read, budget = _Read(), TextBudget(limits)
    for index in range(count):
        text, doubt = "", ""
        seconds = min(float(limits.page_s), _left_for_pages(limits))
        try:
            if seconds <= 0:
                raise _NoTime
            with _at_most(seconds):
                text = clean(reader.pages[index].extract_text() or "").strip()
            doubt = "" if text else "empty"
        except _NoTime:
            doubt = "untried"
        except _TooSlow:
            doubt = "timeout"
        except LimitReachedError:
            doubt = "bomb"
        except MemoryError:
            doubt = "too_large"
        except Exception:  # pypdf raises six kinds of exception on broken pages
            doubt = "malformed"
        if len(text) > ABSURD:
            doubt = "absurd"
            text = text if len(text) <= budget.left else ""
        budget.spend(len(text))
        read.texts.append(text)
        if doubt:
            read.doubts[index] = doubt
    return read


class _NoTime(Exception):
    """The pages before took all of the time that the file has for this reader."""


class _TooSlow(BaseException):
    """A page took too long; no ``except Exception`` of the library may take it for a broken object."""


@contextlib.contextmanager
def _at_most(seconds: float) -> Iterator[None]:
    def stop(*_: object) -> None:
        raise _TooSlow

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 0.001))  # 0 would be none
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _whole_by_pdfium(path: Path, limits: Limits, password: str | None) -> ParsedDocument:
    """A file that pypdf cannot open, as pdfium reads it. Raises ``malformed`` where that finds no text either, or
    most pages broken."""
    import pypdfium2 as pdfium

    budget = TextBudget(limits)
    pages: list[ParsedPage] = []
    try:
        with contextlib.closing(pdfium.PdfDocument(path, password=password)) as document:
            count = len(document)
        if count > limits.max_pages:
            raise IngestionFailure("too_many_pages")
        broken = 0
        for number, text in by_pdfium(path, range(1, count + 1), password):
            broken += text is None
            budget.spend(len(text or ""))
            pages.append(ParsedPage(number, text or ""))
    except pdfium.PdfiumError as error:
        if "password" in str(error).lower():
            raise (wrong_password() if password else IngestionFailure("encrypted")) from error
        raise IngestionFailure("malformed") from error
    if 2 * broken >= count or not any(page.text for page in pages):
        raise IngestionFailure("malformed")
    unread = tuple(Unread(page.number, page.number, "empty") for page in pages if not page.text)
    drawn = tuple(Drawn(page.number, page.number) for page in pages)
    return ParsedDocument(PDF, tuple(pages), unread=unread, drawn=drawn)


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


def _labels(reader: PdfReader, count: int, seconds: float) -> dict[int, str]:
    """What people see of the pages that the file itself numbers in another way (roman, by chapter), by index."""
    try:
        with _at_most(seconds):
            printed = reader.page_labels
    except (Exception, _TooSlow):  # broken trees of labels
        return {}
    shown = (one_line(label)[:_LONGEST_LABEL] for label in printed[:count])
    return {n: f"page {n + 1} ({label})" for n, label in enumerate(shown) if label and label != str(n + 1)}


def _outline(reader: PdfReader, count: int, seconds: float) -> dict[int, list[tuple[str, int]]]:
    """Titles and levels of the outline's entries, by the index of the page that each points to."""
    found: dict[int, list[tuple[str, int]]] = {}
    with contextlib.suppress(Exception, _TooSlow), _at_most(seconds):  # cyclic or broken outlines
        for title, level, item in list(_flat(reader.outline, 1))[:_MAX_OUTLINE]:
            try:
                index = reader.get_destination_page_number(item)
            except Exception:  # noqa: S112  a destination outside the document
                continue
            if index is not None and 0 <= index < count and title:
                found.setdefault(index, []).append((title[:300], level))
    return found


def _flat(entries: Iterable[Any], level: int) -> Iterable[tuple[str, int, Any]]:
    for entry in entries:
        if isinstance(entry, list):
            yield from _flat(entry, level + 1)
        else:
            yield one_line(str(entry.title or "")), min(level, 9), entry
