"""A file becomes a document: sniffed, opened, read by the parser of its kind; then what is done to every document.

It runs only inside the limited child process (:mod:`ingestion.parse_child`). A parser is a module of this package
with ``FORMAT`` and ``parse``, found by :mod:`ingestion.formats`; adding a format is adding its module.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ingestion import protected_office
from ingestion.formats import parser_for
from ingestion.guards import IngestionFailure, Limits
from ingestion.parsed import ParsedDocument
from ingestion.sniff import sniff
from ingestion.text import one_line


def read_file(path: Path, filename: str, *, limits: Limits, password: str | None) -> ParsedDocument:
    """What the parser of the file's kind makes of it. Raises :class:`IngestionFailure`, or anything for a broken one."""
    protected = password is not None and protected_office.is_protected(path)
    if protected:
        assert password is not None
        path = protected_office.unlocked(path, password)
    document = parser_for(sniff(path, filename, limits=limits)).parse(path, limits=limits, password=password)
    return replace(document, protected=document.protected or protected)


def parse(path: Path, filename: str, *, limits: Limits, password: str | None) -> ParsedDocument:
    """The document at ``path`` with its pages without text.

    Raises ``empty`` where no page has text, unless some may yet be found to have some.
    """
    document = read_file(path, filename, limits=limits, password=password)
    without = tuple(page.number for page in document.pages if not page.text.strip())
    if len(without) == len(document.pages) and not document.unread:
        raise IngestionFailure("empty")
    return replace(
        document,
        title=one_line(document.title)[:300],
        author=one_line(document.author)[:300],
        pages_without_text=without,
        pages_with_hidden_text=tuple(page.number for page in document.pages if page.hides),
    )
