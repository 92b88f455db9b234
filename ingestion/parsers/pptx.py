"""PowerPoint: every slide is a page; its title is a heading, tables keep their header, notes come last."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ingestion.formats import Format
from ingestion.guards import Archive, IngestionFailure, Limits, TextBudget
from ingestion.parsed import ParsedDocument, ParsedPage
from ingestion.parsers import ooxml
from ingestion.parsers.ooxml import attribute, local
from ingestion.text import PageBuilder, header_of, one_line, row_text

PPTX = "application/vnd.openxmlformats-officedocument.presentationml.presentation"
FORMAT = Format(
    media_type=PPTX,
    name="PowerPoint (pptx)",
    extensions=("pptx",),
    paged=True,
    unit="slide",
    main_part=re.compile(
        rb"presentationml\.(presentation|slideshow|template)\.main|ms-powerpoint\.\w+\.macroEnabled"
    ),
)


def parse(path: Path, *, limits: Limits, password: str | None) -> ParsedDocument:
    with path.open("rb") as file:
        archive = Archive(file, limits)
        archive.refuse_entities()
        main = ooxml.main_part(archive, "ppt/presentation.xml")
        if main not in archive.names:
            raise IngestionFailure("malformed")
        links = ooxml.related(archive, main)
        order = [item.attrib for item in ooxml.tree(archive, main).iter() if local(item) == "sldId"]
        targets = [
            links[value][1]
            for attributes in order
            for key, value in attributes.items()
            if key.endswith("}id") and value in links
        ]
        slides = [target for target in targets if target in archive.names]
        if len(slides) > limits.max_pages:
            raise IngestionFailure("too_many_pages")
        budget = TextBudget(limits)
        pages = tuple(_slide(archive, part, number, budget) for number, part in enumerate(slides, 1))
        facts = ooxml.core(archive)
    return ParsedDocument(PPTX, pages, facts.title, facts.author, facts.created)


def _slide(archive: Archive, part: str, number: int, budget: TextBudget) -> ParsedPage:
    page = PageBuilder(number, budget, label=f"Slide {number}")
    _shapes(ooxml.tree(archive, part), page)
    for kind, target in ooxml.related(archive, part).values():
        if kind == "notesSlide" and target in archive.names:
            notes = [
                _text(shape)
                for shape in ooxml.tree(archive, target).iter()
                if local(shape) == "sp" and _placeholder(shape) == "body"
            ]
            if any(notes):
                page.block("Notes: " + "\n".join(note for note in notes if note))
    return page.build()


def _shapes(root: Any, page: PageBuilder) -> None:
    for shape in root.iter():
        if local(shape) == "sp" and not any(local(above) == "Fallback" for above in shape.iterancestors()):
            if _placeholder(shape) in ("title", "ctrTitle"):
                page.heading(_text(shape), 1)
            elif _placeholder(shape) not in ("sldNum", "dt"):
                page.block(_text(shape))
        elif local(shape) == "tbl":
            _table(shape, page)


def _table(table: Any, page: PageBuilder) -> None:
    header: list[str] | None = None
    rows = [item for item in table if local(item) == "tr"]
    for place, row in enumerate(rows):
        cells = [one_line(_text(cell)) for cell in row if local(cell) == "tc"]
        if place == 0:
            header = header_of(cells)
            page.block(row_text(None, cells))
        else:
            page.line(row_text(header, cells))


def _placeholder(shape: Any) -> str:
    for item in shape.iter():
        if local(item) == "ph":
            return attribute(item, "type") or "body"
    return ""


def _text(shape: Any) -> str:
    lines = []
    for paragraph in shape.iter():
        if local(paragraph) == "p":
            pieces = []
            for item in paragraph.iter():
                if local(item) == "t":
                    pieces.append(item.text or "")
                elif local(item) in ("br", "tab"):
                    pieces.append("\n" if local(item) == "br" else "\t")
            lines.append("".join(pieces))
    return "\n".join(lines).strip()
