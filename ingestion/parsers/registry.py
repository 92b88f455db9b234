"""Which parser reads which media type, and what is done to every document afterwards.

A parser is a module of this package with ``MEDIA_TYPES`` and ``parse``; adding a format is adding a module to
the table below. It runs only inside the limited child process (:mod:`ingestion.parse_child`).
"""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path
from typing import Final, Protocol, cast

from ingestion.guards import IngestionFailure, Limits
from ingestion.parsed import ParsedDocument
from ingestion.sniff import (
    CSV,
    DOCX,
    EML,
    EPUB,
    HTML,
    JSON,
    MARKDOWN,
    ODT,
    PDF,
    PPTX,
    RTF,
    TEXT,
    XLSX,
    sniff,
)
from ingestion.text import one_line

_MODULES: Final = {
    PDF: "pdf", DOCX: "docx", PPTX: "pptx", XLSX: "xlsx", HTML: "html", MARKDOWN: "markdown",
    TEXT: "text", CSV: "csv", ODT: "odt", RTF: "rtf", EPUB: "epub", EML: "eml", JSON: "json",
}  # fmt: skip
_LANGUAGE_SAMPLE: Final = 20_000
_LANGUAGE_LETTERS: Final = 20


class Parser(Protocol):
    """What a format's module offers."""

    MEDIA_TYPES: tuple[str, ...]

    def parse(self, path: Path, *, limits: Limits, password: str | None) -> ParsedDocument:
        """The document at ``path``; raises :class:`IngestionFailure`, or anything for a broken file."""
        ...


def supported() -> frozenset[str]:
    """The media types that can be read."""
    return frozenset(_MODULES)


def parser_for(media_type: str) -> Parser:
    """The parser of ``media_type``, imported on first use; raises ``unsupported`` for an unknown type."""
    if media_type not in _MODULES:
        raise IngestionFailure("unsupported")
    return cast(Parser, importlib.import_module(f"ingestion.parsers.{_MODULES[media_type]}"))


def parse(path: Path, filename: str, *, limits: Limits, password: str | None) -> ParsedDocument:
    """The document at ``path`` with its language and its pages without text; at least one page has text."""
    media_type = sniff(path, filename, limits=limits)
    document = parser_for(media_type).parse(path, limits=limits, password=password)
    without = tuple(page.number for page in document.pages if not page.text.strip())
    if len(without) == len(document.pages):
        raise IngestionFailure("empty")
    return replace(
        document,
        title=one_line(document.title)[:300],
        author=one_line(document.author)[:300],
        language=_language(document) or document.language[:2].lower(),
        pages_without_text=without,
    )


def _language(document: ParsedDocument) -> str:
    """ISO 639-1 code of the text's language; empty where there is too little text to tell."""
    sample = " ".join(page.text[:_LANGUAGE_SAMPLE] for page in document.pages[:50])[:_LANGUAGE_SAMPLE]
    if sum(character.isalpha() for character in sample) < _LANGUAGE_LETTERS:
        return ""
    import py3langid

    return str(py3langid.classify(sample)[0])
