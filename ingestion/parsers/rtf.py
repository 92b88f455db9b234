"""Rich text (RTF) by striprtf: the text without its formatting, and the facts of its ``info`` group. One page."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path

from ingestion.formats import Format
from ingestion.guards import IngestionFailure, Limits, TextBudget
from ingestion.parsed import ParsedDocument
from ingestion.text import PageBuilder

RTF = "application/rtf"
FORMAT = Format(media_type=RTF, name="RTF", extensions=("rtf",), magic=b"{\\rtf")
_FACT = re.compile(r"\{\\(title|author)\s([^{}]{0,2000})\}")
_CREATED = re.compile(r"\{\\creatim\\yr(\d{4})\\mo(\d{1,2})\\dy(\d{1,2})")


def parse(path: Path, *, limits: Limits, password: str | None) -> ParsedDocument:
    if path.stat().st_size > 8 * limits.max_characters:
        raise IngestionFailure("too_large")
    source = path.read_bytes().decode("latin-1")
    page = PageBuilder(1, TextBudget(limits))
    for line in _plain(source).replace("\r\n", "\n").split("\n"):
        page.block(line.rstrip("|").replace("|", " | "))
    found = _FACT.findall(source[: 64 * 1024])
    facts = {name: _plain(r"{\rtf1 " + value + "}") for name, value in found}
    return ParsedDocument(
        RTF, (page.build(),), facts.get("title", ""), facts.get("author", ""), _created(source)
    )


def _plain(source: str) -> str:
    from striprtf.striprtf import rtf_to_text as to_text

    return str(to_text(source, errors="replace"))  # type: ignore[no-untyped-call]


def _created(source: str) -> date | None:
    match = _CREATED.search(source, 0, 64 * 1024)
    try:
        return date(int(match[1]), int(match[2]), int(match[3])) if match else None
    except ValueError:
        return None
