"""The part of a passage to show under a result, with the words of the question marked.

What always holds: a word is marked exactly when BM25 counts it as a term of the question (same stems, same
stop words); joining the pieces gives plain text, never markup.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from search.index.sparse import terms

ELLIPSIS = "…"
_WORD = re.compile(r"\w+(?:['’]\w+)*")
_SPACE = re.compile(r"\s+")


def snippet(text: str, query: str, length: int = 240) -> list[tuple[str, bool]]:
    """About ``length`` characters of ``text`` where most of the question's terms stand.

    Returns pieces in order, each with whether it is a term of the question. Runs of white space become one
    blank; a cut end carries an ellipsis. An empty text has no pieces.
    """
    text = _SPACE.sub(" ", text).strip()
    words = [(m.start(), m.end(), _word_terms(m.group().lower())) for m in _WORD.finditer(text)]
    wanted = terms(query)
    matches = [(start, end, found & wanted) for start, end, found in words if found & wanted]
    first, last = _window(text, matches, length)
    pieces: list[tuple[str, bool]] = [(ELLIPSIS, False)] if first > 0 else []
    position = first
    for start, end, _ in matches:
        if start >= position and end <= last:
            pieces += [(text[position:start], False), (text[start:end], True)]
            position = end
    pieces.append((text[position:last], False))
    if last < len(text):
        pieces.append((ELLIPSIS, False))
    return _joined(pieces)


def _window(text: str, matches: Sequence[tuple[int, int, frozenset[int]]], length: int) -> tuple[int, int]:
    """The range with the most distinct terms, then matches, then the earliest; whole words at its ends."""
    if len(text) <= length:
        return 0, len(text)
    best, best_key = (0, length), (0, 0)
    for i, (start, _, _) in enumerate(matches):
        inside = [m for m in matches[i:] if m[1] <= start + length]
        key = (len(frozenset[int]().union(*(m[2] for m in inside))), len(inside))
        if key > best_key:
            spare = max(0, length - (inside[-1][1] - start)) if inside else 0
            first = max(0, min(start - spare // 2, len(text) - length))
            best, best_key = (first, first + length), key
    first, last = best
    if first > 0 and not text[first - 1].isspace():
        blank = text.find(" ", first, last)
        first = blank + 1 if 0 <= blank < first + 40 else first
    if last < len(text) and not text[last].isspace():
        blank = text.rfind(" ", first, last)
        last = blank if blank > last - 40 else last
    return first, last


def _joined(pieces: Sequence[tuple[str, bool]]) -> list[tuple[str, bool]]:
    """Without empty pieces, and with neighbours of the same kind as one unless both are marked."""
    joined: list[tuple[str, bool]] = []
    for piece, marked in pieces:
        if piece and joined and not marked and not joined[-1][1]:
            joined[-1] = (joined[-1][0] + piece, False)
        elif piece:
            joined.append((piece, marked))
    return joined


@lru_cache(maxsize=20_000)
def _word_terms(word: str) -> frozenset[int]:
    return terms(word)
