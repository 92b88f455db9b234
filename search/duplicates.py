"""Passages that say the same take one place in the results: copies of a file, and what is repeated in each of many.

What always holds: it sees only hits that the asker may read, so that nothing else can be named as a copy; the better hit stays;
passages that differ in a number, in words that one of them repeats, or in more than a few words are two.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING
from uuid import UUID

import numpy as np

from search.index import Vector
from search.support import NUMBER_WORDS

if TYPE_CHECKING:
    from search.hits import Hit

ALIKE = 0.98
"""Cosine of two embeddings from which on the words of both are compared."""
SHARED_WORDS = 0.9
"""The part of all words of both that both must have."""
MOST_COPIES = 20
"""Named beside a hit."""
_WORD = re.compile(r"\w+")
_DECIDES = frozenset(
    "no not never none nor without except cannot kein keine keinen nicht nie ohne außer".split()  # noqa: SIM905
) | frozenset(NUMBER_WORDS)
"""Words that turn what is said into something else."""


def without_repeats(hits: Sequence[Hit], vectors: Mapping[UUID, Vector]) -> list[Hit]:
    """The hits in their order, each with the later ones that say the same in its ``copies``. ``vectors`` are the rows'
    embeddings by the passage's id."""
    directions = _directions(hits, vectors)
    texts = [_Text(hit.text) for hit in hits]
    kept: list[int] = []
    copies: dict[int, list[Hit]] = {}
    places: dict[str, int] = {}
    for number, text in enumerate(texts):
        original = places.get(text.key)
        if original is None and kept:
            near = directions[kept] @ directions[number] >= ALIKE
            alike = (kept[place] for place in np.flatnonzero(near))
            original = next((other for other in alike if text.says_the_same(texts[other])), None)
        if original is None:
            kept.append(number)
            copies[number], places[text.key] = [], number
        else:
            copies[original].append(hits[number])
    return [replace(hits[number], copies=tuple(copies[number][:MOST_COPIES])) for number in kept]


def _directions(hits: Sequence[Hit], vectors: Mapping[UUID, Vector]) -> Vector:
    """The embeddings of the hits with length 1, shape ``[hits, dimension]``; 0 where there is none, or one of another
    model than the first hit's."""
    rows = [vectors.get(hit.chunk_id) for hit in hits]
    dimension = next((len(row) for row in rows if row is not None), 1)
    found: Vector = np.zeros((len(hits), dimension), dtype=np.float32)
    for number, row in enumerate(rows):
        if row is not None and len(row) == dimension and (length := float(np.linalg.norm(row))) > 0:
            found[number] = row / np.float32(length)
    return found


class _Text:
    """A passage's words as they are compared."""

    def __init__(self, text: str) -> None:
        self.key = " ".join(text.casefold().split())
        self.words = Counter(_WORD.findall(self.key))
        self.decides = {
            word: n for word, n in self.words.items() if word in _DECIDES or any(c.isdigit() for c in word)
        }
        self.names = frozenset(word for word in _WORD.findall(text) if word[0].isupper())

    def says_the_same(self, other: _Text) -> bool:
        if self.decides != other.decides or self.names != other.names:
            return False
        either = (self.words | other.words).total()
        return either > 0 and (self.words & other.words).total() >= SHARED_WORDS * either
