"""Word documents, read as a stream: paragraphs, headings by style, table rows with their header, footnotes.

Streamed with lxml since python-docx takes 1.1 GB for a 298 kB file. A Word file has no pages until it
is printed, so that all of it is page 1.
"""

from __future__ import annotations

import re
from collections.abc import Container, Mapping
from pathlib import Path
from typing import Any

from ingestion.colours import alike, colour_of
from ingestion.formats import Format
from ingestion.guards import Archive, IngestionFailure, Limits, TextBudget
from ingestion.parsed import ParsedDocument
from ingestion.parsers import ooxml
from ingestion.parsers.ooxml import attribute, local
from ingestion.text import PageBuilder, TableText, one_line

DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
FORMAT = Format(
    media_type=DOCX,
    name="Word (docx)",
    extensions=("docx",),
    main_part=re.compile(
        rb"wordprocessingml\.(document|template)\.main|ms-word\.(document|template)\.macroEnabled"
    ),
)
_HEADING_NAME = re.compile(r"heading (\d)$", re.I)
_PARTS_OF_TEXT = {"tab": "\t", "br": "\n", "cr": "\n", "noBreakHyphen": "-", "ptab": "\t"}
_LISTED = -1  # the "level" of a style that makes list items
_NO = frozenset({"0", "false", "off"})
_SMALLEST = 4  # half points: what is set smaller is not meant to be read
_SKIPPED = frozenset({"Fallback", "del", "moveFrom"})


def parse(path: Path, *, limits: Limits, password: str | None) -> ParsedDocument:
    with path.open("rb") as file:
        archive = Archive(file, limits)
        archive.refuse_entities()
        part = ooxml.main_part(archive, "word/document.xml")
        if part not in archive.names:
            raise IngestionFailure("malformed")
        page = PageBuilder(1, TextBudget(limits))
        levels, shaded = _heading_levels(archive), _shaded_styles(archive)
        title = _Body(page, levels, shaded).read(archive, part)
        for kind, target in ooxml.related(archive, part).values():
            if kind in ("footnotes", "endnotes") and target in archive.names:
                _Body(page, {}, shaded).read(archive, target)
        facts = ooxml.core(archive)
    return ParsedDocument(DOCX, (page.build(),), facts.title or title, facts.author, facts.created)


def _heading_levels(archive: Archive) -> dict[str, int]:
    """Style id -> heading level, from its outline level or its name; 0 is the title, -1 a list item."""
    if "word/styles.xml" not in archive.names:
        return {}
    levels: dict[str, int] = {}
    parents: dict[str, str] = {}
    for style in ooxml.tree(archive, "word/styles.xml"):
        if local(style) != "style" or attribute(style, "type") not in ("paragraph", ""):
            continue
        identity = attribute(style, "styleId")
        for item in style.iter():
            if local(item) == "name":
                if match := _HEADING_NAME.match(attribute(item, "val")):
                    levels[identity] = int(match[1])
                elif attribute(item, "val").lower() == "title":
                    levels[identity] = 0
            elif local(item) == "outlineLvl" and attribute(item, "val").isdigit():
                if int(attribute(item, "val")) < 9:
                    levels.setdefault(identity, int(attribute(item, "val")) + 1)
            elif local(item) == "basedOn":
                parents[identity] = attribute(item, "val")
            elif local(item) == "numPr":
                levels.setdefault(identity, _LISTED)
    for identity in parents:
        if (ancestor := _nearest(identity, parents, levels)) is not None:
            levels.setdefault(identity, levels[ancestor])
    return levels


def _nearest(style: str, parents: Mapping[str, str], known: Container[str]) -> str | None:
    """The style itself, or the nearest that it is based on, of those that are ``known``."""
    steps = 0
    while style not in known and style in parents and steps < 20:
        style, steps = parents[style], steps + 1
    return style if style in known else None


def _shaded_styles(archive: Archive) -> frozenset[str]:
    """The ids of styles that put a colour behind their text."""
    if "word/styles.xml" not in archive.names:
        return frozenset()
    shaded: set[str] = set()
    based: dict[str, str] = {}
    for style in ooxml.tree(archive, "word/styles.xml"):
        identity = attribute(style, "styleId")
        for item in style.iter():
            if local(item) == "shd":
                shaded.add(identity)
            elif local(item) == "basedOn":
                based[identity] = attribute(item, "val")
    shaded.update([style for style in based if _nearest(style, based, shaded) is not None])
    return frozenset(shaded)


class _Body:
    """Walks one part; holds the open paragraphs, tables, rows and cells."""

    def __init__(self, page: PageBuilder, levels: dict[str, int], shaded: frozenset[str]) -> None:
        self._page = page
        self._levels = levels
        self._shaded_styles = shaded
        self._coloured_page = False
        self._boxes = 0
        self._shaded = False
        self._paragraphs: list[tuple[list[str], list[int], list[bool]]] = []
        self._tables: list[TableText] = []
        self._rows: list[list[str]] = []
        self._cells: list[list[str]] = []
        self._title = ""
        self._unseen = False

    def read(self, archive: Archive, part: str) -> str:
        """Adds the part's text to the page; returns the text of its first title paragraph."""
        skipping = 0
        for event, element in ooxml.events(archive, part):
            name = local(element)
            if name in _SKIPPED:
                skipping += 1 if event == "start" else -1
            if skipping:
                continue
            if event == "start":
                self._start(name)
                if name in ("anchor", "pict"):  # a picture may lie behind what follows
                    self._coloured_page = True
                if name == "background":
                    self._coloured_page = attribute(element, "color").upper() not in ("FFFFFF", "AUTO", "")
            else:
                self._end(name, element)
                if name in ("p", "tr", "tbl", "r", "pict", "drawing"):
                    element.clear()
                    while element.getprevious() is not None and name in ("p", "tbl", "tr"):
                        del element.getparent()[0]
        return self._title

    def _start(self, name: str) -> None:
        if name == "p":
            self._paragraphs.append(([], [], []))
            self._shaded = False
        elif name == "r":
            self._unseen = False
        elif name == "txbxContent":
            self._boxes += 1
        elif name == "tbl":
            self._tables.append(TableText())
        elif name == "tr" and self._tables:
            self._rows.append([])
        elif name == "tc" and self._rows:
            self._cells.append([])

    def _end(self, name: str, element: object) -> None:
        if self._paragraphs:
            text, level, listed = self._paragraphs[-1]
            if name in ("vanish", "sz"):
                self._unseen = self._unseen or _hides(name, element)
            elif name == "rPr":
                self._unseen = self._unseen or _is_as_its_background(element, on_white=self._on_white)
            elif name == "shd" and local(element.getparent()) == "pPr":  # type: ignore[attr-defined]
                self._shaded = True
            elif name == "t":
                said = getattr(element, "text", None) or ""
                if not self._unseen:
                    text.append(said)
                elif said.strip():
                    self._page.left_out()
            elif name in _PARTS_OF_TEXT and local(element.getparent()) == "r":  # type: ignore[attr-defined]
                text.append(_PARTS_OF_TEXT[name])
            elif name == "pStyle":
                style = attribute(element, "val")
                self._shaded = self._shaded or style in self._shaded_styles
                if style in self._levels:
                    level.append(self._levels[style])
            elif name == "outlineLvl" and attribute(element, "val") in "012345678":
                level.append(int(attribute(element, "val") or 0) + 1)
            elif name == "numPr":
                listed.append(True)
            elif name == "p":
                self._paragraphs.pop()
                self._paragraph("".join(text), level[-1] if level else None, bool(listed))
        if name == "txbxContent":
            self._boxes -= 1
        if name == "tc" and self._cells and self._rows:
            self._rows[-1].append(one_line(" ".join(self._cells.pop())))
        elif name == "tr" and self._rows and self._tables:
            self._row(self._rows.pop())
        elif name == "tbl" and self._tables:
            self._tables.pop()

    @property
    def _on_white(self) -> bool:
        """Whether nothing can be behind the text: no table, no box, no shading, no colour of the page."""
        return not (self._tables or self._boxes or self._shaded or self._coloured_page)

    def _paragraph(self, text: str, level: int | None, listed: bool) -> None:
        if level == _LISTED:
            level, listed = None, True
        if self._cells:
            self._cells[-1].append(text)
        elif level is not None and text.strip():
            if level == 0 and not self._title:
                self._title = one_line(text)
            self._page.heading(text, max(level, 1))
        elif listed:
            self._page.line(f"- {text.strip()}" if text.strip() else "")
        else:
            self._page.block(text)

    def _row(self, cells: list[str]) -> None:
        if self._cells:
            self._cells[-1].append(self._tables[-1].line(cells))
        else:
            self._tables[-1].add_to(self._page, cells)


def _hides(name: str, element: Any) -> bool:
    """Whether a property of a run keeps its text from being seen: marked as hidden, or next to no size."""
    owner = element.getparent().getparent() if element.getparent() is not None else None
    if owner is None or local(owner) != "r":
        return False
    value = attribute(element, "val")
    return value not in _NO if name == "vanish" else value.isdigit() and int(value) < _SMALLEST


def _is_as_its_background(properties: Any, *, on_white: bool) -> bool:
    """Whether the properties of a run give it the colour of its own shading, or white on the white page."""
    owner = properties.getparent()
    if owner is None or local(owner) != "r":
        return False
    said = {local(item): item for item in properties}
    own = colour_of(attribute(said["color"], "val")) if "color" in said else None
    if own is None or "highlight" in said or "rStyle" in said:
        return False
    if "shd" in said:
        behind = colour_of(attribute(said["shd"], "fill"))
        return behind is not None and alike(own, behind)
    return on_white and alike(own, (255, 255, 255))
