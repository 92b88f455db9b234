"""What the fused score of the index cannot see of a passage: how much of its title was asked for, whether the words of the
question stand in it side by side, and how new it is where the latest is asked for (:mod:`search.recency`).

What always holds: only the order and the scores of hits change, never which they are; equal hits keep their order. The first two
weights were chosen on one half of the questions of five collections and hold on the other (``docs/search.md``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

from search.index.sparse import term_sequence
from search.recency import LATEST, asks_for_latest, newness

if TYPE_CHECKING:
    from search.hits import Hit

TITLE = 0.3
"""For a passage all of whose title, or of a heading above it, was asked for, in units of the fused score (a list gives up
to about 1)."""
PHRASES = 0.2
"""For a passage in which all neighbouring words of the question are neighbours."""


def by_title_and_phrases(query: str, hits: Sequence[Hit]) -> list[Hit]:
    """The hits in their new order; ``score`` is the new one."""
    asked = list(dict.fromkeys(term_sequence(query)))
    if not asked:
        return list(hits)
    words, pairs = frozenset(asked), frozenset(pairwise(asked))
    new = newness(hits) if asks_for_latest(query) else {}
    scored = [
        replace(
            hit,
            score=hit.score
            + _more(hit, words, pairs)
            + (LATEST * new.get(hit.dated, 0.0) if hit.dated else 0.0),
        )
        for hit in hits
    ]
    return sorted(scored, key=lambda hit: -hit.score)


def _more(hit: Hit, words: frozenset[int], pairs: frozenset[tuple[int, int]]) -> float:
    names = [frozenset(term_sequence(name)) for name in (hit.title, *hit.headings)]
    title = max((len(name & words) / len(name) for name in names if name), default=0.0)
    if not pairs:
        return TITLE * title
    said: set[tuple[int, int]] = set()
    for text in (hit.text, hit.title, *hit.headings):
        said.update(pairwise(term_sequence(text)))
    return TITLE * title + PHRASES * len(pairs & said) / len(pairs)
