"""OpenDocument text, read as a stream: paragraphs, headings by outline level, lists, table rows, notes.

Like a Word file it has no pages until it is printed, so that all of it is page 1. Deleted text (tracked
changes) and comments are left out; foot- and endnotes come last.
"""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

from ingestion.formats import Format
from ingestion.guards import Archive, IngestionFailure, Limits, TextBudget
from ingestion.parsed import ParsedDocument
from ingestion.parsers import ooxml
from ingestion.parsers.ooxml import attribute, local
from ingestion.text import PageBuilder, TableText, one_line

ODT = "application/vnd.oasis.opendocument.text"
FORMAT = Format(
    media_type=ODT, name="OpenDocument text (odt)", extensions=("odt",), mimetypes=(ODT, f"{ODT}-template")
)
_SKIPPED = frozenset({"tracked-changes", "annotation", "forms", "note-citation", "desc"})
_MOST_REPEATED = 100  # columns that repeat an equal cell; a row of a million is a spreadsheet's emptiness


def parse(path: Path, *, limits: Limits, password: str | None) -> ParsedDocument:
    with path.open("rb") as file:
        archive = Archive(file, limits)
        _refuse_protected(archive)
        archive.refuse_entities()
        if "content.xml" not in archive.names:
            raise IngestionFailure("malformed")
        page = PageBuilder(1, TextBudget(limits))
        title = _Body(page).read(archive)
        facts = _facts(archive)
    return ParsedDocument(
        ODT,
        (page.build(),),
        facts.get("title") or title,
        facts.get("initial-creator") or facts.get("creator", ""),
        _day(facts.get("creation-date", "")),
        facts.get("language", ""),
    )


def _refuse_protected(archive: Archive) -> None:
    if "META-INF/manifest.xml" not in archive.names:
        return
    if b":encryption-data" in archive.read("META-INF/manifest.xml", at_most=4 * 1024 * 1024):
        raise IngestionFailure(
            "encrypted",
            "The file is protected by a password, which cannot be used for OpenDocument files.",
            remedy="Remove the password and upload the file again.",
        )


def _facts(archive: Archive) -> dict[str, str]:
    from lxml import etree

    if "meta.xml" not in archive.names:
        return {}
    try:
        root = ooxml.tree(archive, "meta.xml")
    except etree.XMLSyntaxError:
        return {}
    return {local(item): (item.text or "").strip() for item in root.iter() if not len(item)}


def _day(value: str) -> date | None:
    try:
        return date.fromisoformat(value[:10])
    except ValueError:
        return None


class _Body:
    """Walks ``content.xml``; holds the open tables, rows and cells, and the notes for the end."""

    def __init__(self, page: PageBuilder) -> None:
        self._page = page
        self._tables: list[TableText] = []
        self._rows: list[list[str]] = []
        self._cells: list[list[str]] = []
        self._notes: list[str] = []
        self._in_notes = 0
        self._in_lists = 0
        self._title = ""

    def read(self, archive: Archive) -> str:
        """Adds the text to the page; returns the text of the first title paragraph."""
        skipping = 0
        for event, element in ooxml.events(archive, "content.xml"):
            name = local(element)
            if name in _SKIPPED:
                skipping += 1 if event == "start" else -1
                if event == "end":
                    element.clear(keep_tail=True)
            elif not skipping and event == "start":
                self._start(name)
            elif not skipping:
                self._end(name, element)
        for note in self._notes:
            self._page.block(note)
        return self._title

    def _start(self, name: str) -> None:
        if name == "table":
            self._tables.append(TableText())
        elif name == "table-row" and self._tables:
            self._rows.append([])
        elif name == "table-cell" and self._rows:
            self._cells.append([])
        elif name == "note-body":
            self._in_notes += 1
        elif name == "list-item":
            self._in_lists += 1

    def _end(self, name: str, element: Any) -> None:
        if name in ("p", "h"):
            self._paragraph(element, _inline(element))
            element.clear(keep_tail=True)
        elif name in ("table-cell", "covered-table-cell") and self._rows:
            text = one_line(" ".join(self._cells.pop())) if name == "table-cell" and self._cells else ""
            repeated = attribute(element, "number-columns-repeated")
            self._rows[-1] += [text] * min(int(repeated) if repeated.isdigit() else 1, _MOST_REPEATED)
        elif name == "table-row" and self._rows and self._tables:
            self._row(self._rows.pop())
        elif name == "table" and self._tables:
            self._tables.pop()
        elif name == "note-body":
            self._in_notes -= 1
        elif name == "list-item":
            self._in_lists -= 1
        if name in ("table-row", "list-item", "note", "frame"):
            element.clear(keep_tail=True)

    def _paragraph(self, element: Any, text: str) -> None:
        if self._in_notes:
            self._notes.append(text)
        elif self._cells:
            self._cells[-1].append(text)
        elif local(element) == "h":
            level = attribute(element, "outline-level")
            self._page.heading(text, int(level) if level.isdigit() else 1)
        elif attribute(element, "style-name") == "Title" and not self._title:
            self._title = one_line(text)
            self._page.heading(text, 1)
        elif self._in_lists:
            self._page.line(f"- {text.strip()}" if text.strip() else "")
        else:
            self._page.block(text)

    def _row(self, cells: list[str]) -> None:
        if self._cells:
            self._cells[-1].append(self._tables[-1].line(cells))
        else:
            self._tables[-1].add_to(self._page, cells)


def _inline(element: Any) -> str:
    """The text of a paragraph; what stands in frames and notes has been taken before."""
    parts = [element.text or ""]
    for child in element:
        name = local(child)
        if name == "s":
            count = attribute(child, "c")
            parts.append(" " * min(int(count) if count.isdigit() else 1, 80))
        elif name in ("tab", "line-break"):
            parts.append("\t" if name == "tab" else "\n")
        else:
            parts.append(_inline(child))
        parts.append(child.tail or "")
    return "".join(parts)
