"""What a parser returns: the text of a file, page by page, with headings and the facts about the file.

Frozen values without Django, so that the parsing child process can import them. Offsets count Unicode
code points within the text of their page.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from typing import Final

HIDDEN: Final = "\x00"
"""How the text of a page begins of which hidden text was left out; no text that was cleaned has it."""


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading at ``start`` of its page; ``level`` counts from 1."""

    start: int
    level: int
    text: str


@dataclass(frozen=True, slots=True)
class Marks:
    """What a reader of the file counts on a page: the row, item or line ``names[n]`` begins at ``starts[n]``, in order.

    ``unit`` is what one is called ("row"); without one the names are paths into the file's structure.
    """

    unit: str
    starts: tuple[int, ...]
    names: tuple[str, ...]

    def between(self, start: int, end: int) -> str:
        """From which to which one ``start`` to ``end`` reaches ("rows 12–30", "at servers[3]"); empty where there is none."""
        last = bisect_left(self.starts, end) - 1
        if last < 0:
            return ""
        first = self.names[max(0, bisect_right(self.starts, start) - 1)]
        if first == self.names[last]:
            return f"{self.unit or 'at'} {first}"
        return (
            f"{self.unit}s {first}–{self.names[last]}" if self.unit else f"from {first} to {self.names[last]}"
        )


@dataclass(frozen=True, slots=True)
class ParsedPage:
    """A page, slide or sheet. ``number`` counts from 1; ``label`` names it for people ("Sheet Budget")."""

    number: int
    text: str
    headings: tuple[Heading, ...] = ()
    label: str = ""
    marks: Marks | None = None
    hides: bool = False
    """Whether its parser left out text that is hidden from readers."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """A page that can be drawn, of a PDF: its number in the document and in its file, as in :class:`Unread`."""

    page: int
    number: int
    part: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Unread:
    """A page of a PDF whose text its first reader did not find, to be read again by another.

    ``page`` is its number in the document, ``number`` the one in its file: the uploaded one, or the attachment that
    ``part`` leads to. ``why`` is ``empty``, ``malformed``, ``bomb``, ``timeout``, ``too_large``, ``absurd`` (far
    more text than a page holds) or ``untried`` (pages before it took all of the time).
    ``outline`` are titles and levels of the headings that may stand on it.
    """

    page: int
    number: int
    why: str
    part: tuple[int, ...] = ()
    outline: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class ParsedDocument:
    """A whole file. ``language`` is an ISO 639-1 code or empty; ``pages_without_text`` and ``pages_by_ocr`` (whose text
    was recognised in their picture) are page numbers, as ``pages_with_hidden_text`` are, of which it was left out. ``protected``: only a password opened the file.
    """

    media_type: str
    pages: tuple[ParsedPage, ...]
    title: str = ""
    author: str = ""
    created: date | None = None
    language: str = ""
    pages_without_text: tuple[int, ...] = ()
    pages_by_ocr: tuple[int, ...] = ()
    protected: bool = False
    unread: tuple[Unread, ...] = ()
    drawn: tuple[Drawn, ...] = ()
    pages_with_hidden_text: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class TextChunk:
    """A passage of one page: ``page.text[start:end] == text``. ``headings`` is the path above it, ``lead`` the
    first row of the table in whose middle it begins, or empty, ``place`` what its page's marks say ("rows 12–30")."""

    ordinal: int
    page: int
    start: int
    end: int
    text: str
    headings: tuple[str, ...] = ()
    lead: str = ""
    place: str = ""


def headings_in(text: str, outline: Iterable[tuple[str, int]]) -> tuple[Heading, ...]:
    """The headings of ``outline`` whose title is found in the text of their page, in the order of the page."""
    found: dict[int, Heading] = {}
    for title, level in outline:
        if (start := text.find(title)) >= 0:
            found.setdefault(start, Heading(start, level, title))
    return tuple(found[start] for start in sorted(found))
