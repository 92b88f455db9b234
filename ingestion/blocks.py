"""Where a page may be cut, and how much each cut hurts: the units that passages are made of.

What always holds: the units of a page follow each other without gap or overlap from its first character to its
last; a fenced block of code, a row of a table and an item of a list are one unit each, prose is one unit a
sentence or line; and a unit in a table knows the table's first row, unless it is that row or the rule below it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import IntEnum
from itertools import pairwise
from typing import Final, cast

from ingestion.parsed import Heading
from search.sentences import sentence_spans

LONGEST_LEAD: Final = 200
"""Characters of a table's first row that are kept for the rows below it."""

_FENCE: Final = re.compile(r" {0,3}(`{3,}|~{3,})")
_ITEM: Final = re.compile(r"[ \t]*(?:[-*+•–]|\d{1,3}[.)])[ \t]+\S")
_SPACE: Final = re.compile(r"\s*")
_RULE: Final = re.compile(r"(?=.*-)[ \t|:+-]+$")
_NAMED: Final = re.compile(r"[^\n:;]{1,80}: [^\n;]{0,400}; [^\n:;]{1,80}: ")  # as the parsers write rows


class Break(IntEnum):
    """What lies before a unit, the best place for a cut first."""

    HEADING = 0
    PARAGRAPH = 1
    LINE = 2
    SENTENCE = 3
    WRAPPED = 4
    """A line's end within a sentence."""
    WORD = 5
    BOUND = 6
    """The unit before belongs to this one: a heading, or a line that ends in a colon."""


class Kind(IntEnum):
    PROSE = 0
    ITEM = 1
    ROW = 2
    CODE = 3


@dataclass(frozen=True, slots=True)
class Unit:
    """A stretch of a page that is cut only where it is too long; ``end`` takes in the white space behind it."""

    start: int
    end: int
    before: Break
    kind: Kind = Kind.PROSE
    lead: str = ""


def units(text: str, headings: tuple[Heading, ...], *, markdown: bool) -> list[Unit]:
    """All of ``text``; fences of code are known in Markdown only."""
    starts = sorted({heading.start for heading in headings if 0 <= heading.start < len(text)})
    found: list[Unit] = []
    for start, end in zip([0, *starts], [*starts, len(text)], strict=True):
        if start == end:
            continue
        section = _section(text, start, end, markdown)
        if start in starts:
            section[0] = replace(section[0], before=Break.HEADING)
            line_end = text.find("\n", start, end)
            if len(section) > 1 and 0 <= line_end < section[1].start:
                section[1] = replace(section[1], before=Break.BOUND)
        found += section
    return found


def finer(text: str, unit: Unit) -> list[Unit]:
    """``unit`` at its lines and sentences; only itself where it has one."""
    parts = list(_prose(text, unit.start, unit.end, unit.before))
    return [replace(part, kind=unit.kind, lead=unit.lead) for part in parts]


def _section(text: str, start: int, end: int, markdown: bool) -> list[Unit]:
    found: list[Unit] = []
    table: list[str] = []  # the first row, once a row was seen
    for kind, first, last in _blocks(text, start, end, markdown):
        before = _break_before(text, first)
        if found and found[-1].kind is not Kind.ROW and text[found[-1].start : first].rstrip().endswith(":"):
            before = Break.BOUND
        if kind is not Kind.ROW or before is Break.PARAGRAPH:
            table = []
        line = text[first:last].strip()
        if kind is not Kind.ROW:
            found += (
                _prose(text, first, last, before) if kind is Kind.PROSE else [Unit(first, last, before, kind)]
            )
        elif _NAMED.match(line) or not table or _RULE.match(line):
            found.append(Unit(first, last, Break.BOUND if _RULE.match(line) else before, kind))
        else:
            found.append(Unit(first, last, before, kind, table[0][:LONGEST_LEAD]))
        if kind is Kind.ROW and not table and not _NAMED.match(line):
            table = [line]
    return found


def _blocks(text: str, start: int, end: int, markdown: bool) -> Iterator[tuple[Kind, int, int]]:
    """Paragraphs, items, rows and fences, each with the blank lines behind it."""
    opened: tuple[Kind, int] | None = None
    fence, blank, at = "", False, start
    while at < end:
        line_end = text.find("\n", at, end) + 1 or end
        line = text[at:line_end].rstrip("\n")
        kind = _kind(line, markdown)
        if fence:
            mark = _FENCE.match(line)
            if mark and mark[1].startswith(fence) and not line.strip(" `~"):
                fence, blank = "", True  # whatever comes next begins anew
        elif not line.strip():
            blank = True
        elif opened is None:
            opened, blank = (kind, start), False
            fence = _fence(line, kind)
        elif blank or kind is not Kind.PROSE or opened[0] in (Kind.ROW, Kind.CODE):
            yield opened[0], opened[1], at
            opened, blank = (kind, at), False
            fence = _fence(line, kind)
        at = line_end
    yield (opened or (Kind.PROSE, start))[0], (opened or (Kind.PROSE, start))[1], end


def _kind(line: str, markdown: bool) -> Kind:
    if markdown and _FENCE.match(line):
        return Kind.CODE
    if " | " in line or "\t" in line.strip() or line.lstrip().startswith("|") or _NAMED.match(line):
        return Kind.ROW
    if "|" in line and _RULE.match(line):
        return Kind.ROW
    return Kind.ITEM if _ITEM.match(line) else Kind.PROSE


def _fence(line: str, kind: Kind) -> str:
    mark = _FENCE.match(line) if kind is Kind.CODE else None
    return mark[1] if mark else ""


def _break_before(text: str, at: int) -> Break:
    first = at
    while first and text[first - 1].isspace():
        first -= 1
    return Break.PARAGRAPH if text.count("\n", first, at) > 1 else Break.LINE


def _prose(text: str, start: int, end: int, before: Break) -> Iterator[Unit]:
    """The sentences and lines from ``start`` to ``end``."""
    piece = text[start:end]
    sentences = {first for first, _ in sentence_spans(piece)}
    cuts = {first: Break.SENTENCE for first in sentences if first}
    at = piece.find("\n") + 1
    while at:
        first = cast(re.Match[str], _SPACE.match(piece, at)).end()
        cuts.pop(first, None)
        if first < len(piece):
            cuts[at] = Break.LINE if first in sentences else Break.WRAPPED
        at = piece.find("\n", max(at, first)) + 1
    places = [0, *sorted(cuts), len(piece)]
    for first, last in pairwise(places):
        yield Unit(start + first, start + last, cuts.get(first, before))
