"""Cuts a document into passages that a model can embed: at headings, paragraphs, lines, sentences, words.

What always holds: ``page.text[chunk.start:chunk.end] == chunk.text``, chunks of a page are in order and apart,
none is blank, none has more than ``max_tokens`` tokens of the tokenizer given (without its special tokens) nor
more than 16 characters for each of these, unless it is one character, and every visible character of a page lies
in a chunk. A fenced block of Markdown, a table's row and a list's item are cut only where they are longer.

Of all cuts that the limit allows those are taken that hurt least in sum, by dynamic programming over the units of
:mod:`ingestion.blocks`; so passages come out about equally long, not full ones with a rest behind them. A text is
tokenized once for the cuts and once more to be sure of the limit.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Final

from tokenizers import Tokenizer

from ingestion.blocks import Break, Unit, finer, units
from ingestion.parsed import Heading, ParsedDocument, TextChunk

# A tokenizer may count a run of ten thousand letters as one unknown token.
_CHARACTERS_PER_TOKEN: Final = 16
_WINDOW: Final = 20_000  # characters that are cut in one call, so that the caller hears of it in between
_MOST_UNITS: Final = 64  # in a passage; keeps the time for a column of single figures within bounds
_MARKDOWN: Final = "text/markdown"
_HURTS: Final = {
    Break.HEADING: 0.0,
    Break.PARAGRAPH: 0.05,
    Break.LINE: 0.15,
    Break.SENTENCE: 0.25,
    Break.WRAPPED: 0.6,
    Break.WORD: 1.0,
    Break.BOUND: 1.0,
}
_HEADING_INSIDE: Final = 0.4  # joins sections while both are shorter than about half a passage


def chunk(
    document: ParsedDocument,
    *,
    tokenizer: Tokenizer,
    max_tokens: int = 200,
    on_progress: Callable[[int], None] | None = None,
) -> list[TextChunk]:
    """The passages of ``document``, numbered from 0 through all its pages.

    Headings above a page (of the pages before it) count towards the path of its passages. ``on_progress`` is
    told the pages that are done, often: at least every 20,000 characters. Raises ``ValueError`` for
    ``max_tokens`` below 1.
    """
    if max_tokens < 1:
        raise ValueError("max_tokens must be at least 1")
    counter = _plain(tokenizer)
    chunks: list[TextChunk] = []
    path: list[Heading] = []
    for done, page in enumerate(document.pages):
        waiting = sorted(page.headings, key=lambda heading: heading.start, reverse=True)
        found = units(page.text, page.headings, markdown=document.media_type == _MARKDOWN)
        for window in _windows(page.text, found):
            if on_progress is not None:
                on_progress(done)
            for start, end, lead in _passages(page.text, window, counter, max_tokens):
                while waiting and waiting[-1].start <= start:
                    heading = waiting.pop()
                    path[:] = [above for above in path if above.level < heading.level] + [heading]
                names = tuple(heading.text for heading in path)
                text = page.text[start:end]
                place = page.marks.between(start, end) if page.marks is not None else ""
                chunks.append(TextChunk(len(chunks), page.number, start, end, text, names, lead, place))
        for heading in reversed(waiting):
            path[:] = [above for above in path if above.level < heading.level] + [heading]
    return chunks


def _plain(tokenizer: Tokenizer) -> Tokenizer:
    """The tokenizer itself where it does not truncate, since a copy takes longer than cutting a short document; one that
    truncates would count no text as longer than its own limit."""
    if tokenizer.truncation is None and tokenizer.padding is None:
        return tokenizer
    counter = Tokenizer.from_str(tokenizer.to_str())
    counter.no_truncation()
    counter.no_padding()
    return counter


def _windows(text: str, found: Sequence[Unit]) -> Iterator[list[Unit]]:
    """The units in parts of at most :data:`_WINDOW` characters, parted where it hurts least in the second half."""
    window: list[Unit] = []
    for unit in found:
        for part in _halves(text, unit, _WINDOW, lambda start, end: end - start):
            if window and part.end - window[0].start > _WINDOW:
                middle = window[0].start + _WINDOW // 2
                places = [place for place in range(1, len(window)) if window[place].start >= middle]
                cut = min(places, key=lambda place: (window[place].before, -place), default=len(window))
                if part.before <= (window[cut].before if cut < len(window) else Break.BOUND):
                    cut = len(window)
                yield window[:cut]
                window = window[cut:]
                if window and part.end - window[0].start > _WINDOW:
                    yield window
                    window = []
            window.append(part)
    if window:
        yield window


def _passages(
    text: str, window: Sequence[Unit], counter: Tokenizer, limit: int
) -> Iterator[tuple[int, int, str]]:
    """Start, end and table row above of each passage of a window."""
    first = window[0].start
    offsets = counter.encode(text[first : window[-1].end], add_special_tokens=False).offsets
    starts = [first + start for start, _ in offsets]

    def size(start: int, end: int) -> int:
        tokens = bisect_left(starts, end) - bisect_left(starts, start)
        return max(tokens, -(-(end - start) // _CHARACTERS_PER_TOKEN))

    pieces: list[Unit] = []
    for unit in window:
        fine = [unit] if size(unit.start, unit.end) <= limit else finer(text, unit)
        for part in fine:
            fits = size(part.start, part.end) <= limit
            pieces += [part] if fits else _halves(text, part, max(1, limit // 4), size)
    grouped = _grouped(pieces, [size(piece.start, piece.end) for piece in pieces], limit)
    joined = [replace(pieces[i], end=pieces[j - 1].end) for i, j in grouped]
    trimmed = [span for unit in joined if (span := _trimmed(text, unit)) is not None]
    counts = counter.encode_batch([text[u.start : u.end] for u in trimmed], add_special_tokens=False)

    def exact(start: int, end: int) -> int:
        return len(counter.encode(text[start:end].strip(), add_special_tokens=False).ids)

    for unit, count in zip(trimmed, counts, strict=True):
        for part in [unit] if len(count.ids) <= limit else _halves(text, unit, limit, exact):
            if (span := _trimmed(text, part)) is not None:
                yield span.start, span.end, span.lead


def _grouped(pieces: Sequence[Unit], sizes: Sequence[int], limit: int) -> list[tuple[int, int]]:
    """Runs of pieces, as ``(first, behind last)``, of at most ``limit`` tokens that hurt least in sum."""
    slack = [((limit - size) / limit) ** 2 for size in range(limit + 1)]
    hurts = [_HURTS[piece.before] for piece in pieces]
    inside = [_HEADING_INSIDE if piece.before is Break.HEADING else 0.0 for piece in pieces]
    best = [0.0] * (len(pieces) + 1)
    begins = [0] * (len(pieces) + 1)
    for end in range(1, len(pieces) + 1):
        least, size, crossed = float("inf"), 0, 0.0
        for start in range(end - 1, max(-1, end - 1 - _MOST_UNITS), -1):
            size += sizes[start]
            if size > limit and start < end - 1:
                break
            hurt = best[start] + hurts[start] + slack[min(size, limit)] + crossed
            if hurt < least:
                least, begins[end] = hurt, start
            crossed += inside[start]
        best[end] = least
    runs: list[tuple[int, int]] = []
    end = len(pieces)
    while end:
        runs.append((begins[end], end))
        end = begins[end]
    return runs[::-1]


def _halves(text: str, unit: Unit, limit: int, size: Callable[[int, int], int]) -> list[Unit]:
    """``unit`` in parts of at most ``limit`` by ``size``, parted at the white space nearest to the middle, or
    where there is none; a single character is not parted."""
    if unit.end - unit.start < 2 or size(unit.start, unit.end) <= limit:
        return [unit]
    middle, reach = (unit.start + unit.end) // 2, (unit.end - unit.start) // 4
    before = max((text.rfind(mark, middle - reach, middle) for mark in (" ", "\n", "\t")), default=-1) + 1
    cut = before if before > unit.start else middle
    left = replace(unit, end=cut)
    right = replace(unit, start=cut, before=Break.WORD)
    return [*_halves(text, left, limit, size), *_halves(text, right, limit, size)]


def _trimmed(text: str, unit: Unit) -> Unit | None:
    piece = text[unit.start : unit.end]
    if not piece.strip():
        return None
    start = unit.start + len(piece) - len(piece.lstrip())
    return replace(unit, start=start, end=unit.start + len(piece.rstrip()))
