"""What a parser returns: the text of a file, page by page, with headings and the facts about the file.

Frozen values without Django, so that the parsing child process can import them. Offsets count Unicode
code points within the text of their page.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading at ``start`` of its page; ``level`` counts from 1."""

    start: int
    level: int
    text: str


@dataclass(frozen=True, slots=True)
class ParsedPage:
    """A page, slide or sheet. ``number`` counts from 1; ``label`` names it for people ("Sheet Budget")."""

    number: int
    text: str
    headings: tuple[Heading, ...] = ()
    label: str = ""


@dataclass(frozen=True, slots=True)
class ParsedDocument:
    """A whole file. ``language`` is an ISO 639-1 code or empty; ``pages_without_text`` are page numbers."""

    media_type: str
    pages: tuple[ParsedPage, ...]
    title: str = ""
    author: str = ""
    created: date | None = None
    language: str = ""
    pages_without_text: tuple[int, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class TextChunk:
    """A passage of one page: ``page.text[start:end] == text``. ``headings`` is the path above it."""

    ordinal: int
    page: int
    start: int
    end: int
    text: str
    headings: tuple[str, ...] = ()
