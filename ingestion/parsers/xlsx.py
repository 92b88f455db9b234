"""Excel by openpyxl's streaming reader: every sheet is a page, every row ``Header: value; Header: value``."""

from __future__ import annotations

import re
from datetime import date, datetime, time
from pathlib import Path

from ingestion.formats import Format
from ingestion.guards import Archive, IngestionFailure, Limits, TextBudget
from ingestion.parsed import ParsedDocument, ParsedPage
from ingestion.parsers import ooxml
from ingestion.text import PageBuilder, header_of, one_line, row_text

XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
FORMAT = Format(
    media_type=XLSX,
    name="Excel (xlsx)",
    extensions=("xlsx",),
    paged=True,
    unit="sheet",
    main_part=re.compile(
        rb"spreadsheetml\.(sheet|template)\.main|ms-excel\.(sheet|template)\.macroEnabled\.main"
    ),
)


def parse(path: Path, *, limits: Limits, password: str | None) -> ParsedDocument:
    import openpyxl

    with path.open("rb") as file:
        archive = Archive(file, limits)
        archive.refuse_entities()
        facts = ooxml.core(archive)
    with path.open("rb") as file:
        book = openpyxl.load_workbook(file, read_only=True, data_only=True, keep_links=False)
        if len(book.worksheets) > limits.max_pages:
            raise IngestionFailure("too_many_pages")
        budget = TextBudget(limits)
        pages = tuple(_sheet(sheet, number, budget) for number, sheet in enumerate(book.worksheets, 1))
    return ParsedDocument(XLSX, pages, facts.title, facts.author, facts.created)


def _sheet(sheet: object, number: int, budget: TextBudget) -> ParsedPage:
    title = one_line(str(getattr(sheet, "title", "")))
    page = PageBuilder(number, budget, label=f"Sheet {title}", unit="row")
    sheet.reset_dimensions()  # type: ignore[attr-defined]  # the file's own claim may lie
    header: list[str] | None = None
    begun = False
    for number, values in enumerate(sheet.iter_rows(values_only=True), 1):  # type: ignore[attr-defined]
        cells = [_cell(value) for value in values]
        if not any(cells):
            continue
        if not begun:
            page.heading(title, 1)  # here, so that an empty sheet stays a page without text
            begun = True
        page.mark(str(number))
        if header is None and (header := header_of(cells)) is not None:
            page.block(row_text(None, cells))
        else:
            page.line(row_text(header, cells))
    return page.build()


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.date().isoformat() if value.time() == time() else value.isoformat(" ", "minutes")
    if isinstance(value, (date, time)):
        return value.isoformat()
    if isinstance(value, float):
        return f"{value:.10g}"
    return one_line(str(value))
