"""Text as it is kept: decoded, free of control and hidden characters, and built block by block.

What always holds: a page made by :class:`PageBuilder` contains only characters that pass :func:`clean`, and
its headings lie exactly where their offsets say. Hidden characters (zero width, bidirectional overrides,
Unicode tags) are removed because they can carry words that a person does not see and a model does.
"""

from __future__ import annotations

import codecs
import re
from typing import Final

from ingestion.guards import TextBudget
from ingestion.parsed import Heading, Marks, ParsedPage

_HIDDEN: Final = re.compile(
    "["
    "\x00-\x08\x0b\x0e-\x1f\x7f-\x9f"  # C0 and C1 controls but tab, line feed, form feed, carriage return
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f"  # soft hyphen, fillers, Mongolian selectors
    "\u200b-\u200f\u202a-\u202e\u2060-\u206f"  # zero width, directional marks, embeddings, isolates
    "\ufe00-\ufe0f\ufeff\ufff9-\ufffb\uffa0"  # variation selectors, BOM, interlinear annotation
    "\U0001bca0-\U0001bca3\U000e0000-\U000e0fff"  # shorthand controls, tags, selectors supplement
    "\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff"  # lone surrogates and noncharacters
    "]+"
)
_BREAK: Final = re.compile("\r\n|[\r\x0c\u2028\u2029]")
_BOMS: Final = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_SAMPLE: Final = 256 * 1024
_TELLING_BYTES: Final = 16  # fewer bytes beyond ASCII than this tell no encoding from another
_MAX_HEADING: Final = 300
_MAX_HEADINGS: Final = 20_000


def clean(text: str) -> str:
    """``text`` with one kind of line break and without control, hidden and unpaired characters."""
    return _HIDDEN.sub("", _BREAK.sub("\n", text))


def one_line(text: str) -> str:
    """``text`` cleaned, with every run of white space made one space."""
    return " ".join(clean(text).split())


def decode(data: bytes, *, declared: str = "") -> str:
    """The text of ``data``: by byte order mark, as UTF-8, as ``declared``, else by what its bytes suggest.

    Never raises: what no encoding explains becomes U+FFFD.
    """
    for mark, name in _BOMS:
        if data.startswith(mark):
            return data.decode(name, errors="replace")
    if (wide := _utf16_without_mark(data)) is not None:
        return data.decode(wide, errors="replace")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        pass
    few = sum(byte >= 0x80 for byte in data[:_SAMPLE]) < _TELLING_BYTES
    guessed = "" if few else _guess(data)
    for name in (declared, guessed, "cp1252"):
        if name:
            try:
                return data.decode(name)
            except (UnicodeDecodeError, LookupError):
                continue
    return data.decode("cp1252", errors="replace")


def _utf16_without_mark(data: bytes) -> str | None:
    """UTF-16 of western text has a zero in every second byte; nothing else of ours does."""
    sample = data[:4096]
    if len(sample) < 4:
        return None
    half = len(sample) // 2
    even, odd = sample[0::2].count(0), sample[1::2].count(0)
    if odd > 0.7 * half and even < 0.05 * half:
        return "utf-16-le"
    if even > 0.7 * half and odd < 0.05 * half:
        return "utf-16-be"
    return None


def _guess(data: bytes) -> str:
    import charset_normalizer  # here, because most files never need it

    sample = data if len(data) <= _SAMPLE else data[:_SAMPLE]
    best = charset_normalizer.from_bytes(sample.replace(b"\x00", b"")).best()
    return best.encoding if best is not None else ""


class PageBuilder:
    """Collects the text of one page; ``build`` gives it with exact offsets of headings and marks.

    Blocks are parted by an empty line, lines by a line break. Every character is charged to ``budget``. ``unit``: see
    :class:`Marks`.
    """

    def __init__(self, number: int, budget: TextBudget, *, label: str = "", unit: str = "") -> None:
        self._number = number
        self._label = label
        self._budget = budget
        self._parts: list[str] = []
        self._length = 0
        self._headings: list[Heading] = []
        self._hides = False
        self._unit = unit
        self._mark = ""
        self._starts: list[int] = []
        self._names: list[str] = []

    def mark(self, name: str) -> None:
        """Whatever is added next, if anything is, begins the row, item or path ``name``."""
        self._mark = name

    def left_out(self) -> None:
        """Text of the page was left out because its readers do not see it."""
        self._hides = True

    def block(self, text: str) -> None:
        """Adds ``text`` after an empty line; white space around it is dropped."""
        self._add(clean(text).strip(), "\n\n")

    def line(self, text: str) -> None:
        """Adds ``text`` as the next line of the block before it."""
        self._add(clean(text).strip(), "\n")

    def heading(self, text: str, level: int) -> None:
        """Adds a heading as a block of one line. ``level`` counts from 1."""
        text = one_line(text)
        start = self._add(text, "\n\n")
        if start is not None and len(self._headings) < _MAX_HEADINGS:
            self._headings.append(Heading(start, max(1, min(level, 9)), text[:_MAX_HEADING]))

    def _add(self, text: str, separator: str) -> int | None:
        if not text:
            return None
        if self._parts:
            self._parts.append(separator)
            self._length += len(separator)
        self._budget.spend(len(text) + len(separator))
        start = self._length
        if self._mark and not (self._names and self._names[-1] == self._mark):
            self._starts.append(start)
            self._names.append(self._mark)
        self._mark = ""
        self._parts.append(text)
        self._length += len(text)
        return start

    def build(self) -> ParsedPage:
        marks = Marks(self._unit, tuple(self._starts), tuple(self._names)) if self._starts else None
        return ParsedPage(
            self._number, "".join(self._parts), tuple(self._headings), self._label, marks, self._hides
        )


def row_text(header: list[str] | None, cells: list[str]) -> str:
    """A table row that can be read alone: ``Header: value; Header: value``, empty cells left out."""
    if header is None:
        return " | ".join(cell for cell in cells if cell)
    parts = []
    for place, cell in enumerate(cells):
        if cell:
            name = header[place] if place < len(header) else ""
            parts.append(f"{name}: {cell}" if name else cell)
    return "; ".join(parts)


def header_of(cells: list[str]) -> list[str] | None:
    """``cells`` when they can serve as a table's header: at least two, short, each with a letter."""
    filled = [cell for cell in cells if cell]
    if len(filled) < 2 or any(len(cell) > 80 for cell in filled):
        return None
    if any(not any(character.isalpha() for character in cell) for cell in filled):
        return None
    return cells


class TableText:
    """The rows of one table as lines that can be read alone; the first row may be their header."""

    def __init__(self) -> None:
        self._header: list[str] | None = None
        self._count = 0

    def line(self, cells: list[str]) -> str:
        """The next row as a line."""
        if self._count == 0:
            self._header = header_of(cells)
        text = row_text(None if self._count == 0 else self._header, cells)
        self._count += 1
        return text

    def add_to(self, page: PageBuilder, cells: list[str]) -> None:
        """The next row on ``page``, the first as a new block."""
        first = self._count == 0
        (page.block if first else page.line)(self.line(cells))
