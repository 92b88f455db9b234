"""Plain text: decoded, cleaned, kept as it is. One page."""

from __future__ import annotations

from pathlib import Path

from ingestion.formats import Format
from ingestion.guards import IngestionFailure, Limits, TextBudget
from ingestion.parsed import ParsedDocument, ParsedPage
from ingestion.text import clean, decode

TEXT = "text/plain"
FORMAT = Format(media_type=TEXT, name="plain text", extensions=("txt", "text", "log", "rst"), text=True)


def read_text(path: Path, limits: Limits) -> str:
    """The cleaned text of a file; raises ``too_large`` beyond the limit on characters."""
    if path.stat().st_size > 4 * limits.max_characters:
        raise IngestionFailure("too_large")
    text = clean(decode(path.read_bytes()))
    TextBudget(limits).spend(len(text))
    return text


def parse(path: Path, *, limits: Limits, password: str | None) -> ParsedDocument:
    return ParsedDocument(TEXT, (ParsedPage(1, read_text(path, limits)),))
