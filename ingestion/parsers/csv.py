"""Comma separated values: every row as ``Header: value; Header: value``, to be understood alone.

Rows are counted as a table's program shows them: an empty line is one, a record of several lines is one."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from ingestion.formats import Format
from ingestion.guards import Limits, TextBudget
from ingestion.parsed import ParsedDocument
from ingestion.parsers.text import read_text
from ingestion.text import PageBuilder, header_of, one_line, row_text

CSV = "text/csv"


def _looks_like_csv(text: str, extension: str) -> bool:
    """Three lines or more that all hold the same number of the same separator, and no other shape."""
    lines = [line for line in text.splitlines()[:20] if line.strip()]
    if len(lines) < 3:
        return False
    lines = lines[:-1] if len(text) >= 64 * 1024 - 8 else lines  # the last one may be cut off
    return any(
        (count := lines[0].count(mark)) >= 1 and all(line.count(mark) == count for line in lines)
        for mark in ",;\t"
    )


FORMAT = Format(
    media_type=CSV, name="CSV", extensions=("csv", "tsv"), text=True, signs=((20, _looks_like_csv),)
)


def parse(path: Path, *, limits: Limits, password: str | None) -> ParsedDocument:
    text = read_text(path, limits)
    first = text[:8192].split("\n", 1)[0]
    try:
        dialect: type[csv.Dialect] | csv.Dialect = csv.Sniffer().sniff(text[:8192], delimiters=",;\t|")
    except csv.Error:
        dialect = csv.excel_tab if first.count("\t") > first.count(",") else csv.excel
    csv.field_size_limit(10_000_000)
    page = PageBuilder(1, TextBudget(limits), unit="row")
    header: list[str] | None = None
    for number, row in enumerate(csv.reader(io.StringIO(text), dialect), 1):
        cells = [one_line(cell) for cell in row]
        page.mark(str(number))
        if header is None and (header := header_of(cells)) is not None:
            page.line(" | ".join(cell for cell in cells if cell))
        else:
            page.line(row_text(header, cells))
    return ParsedDocument(CSV, (page.build(),))
