"""BM25 as sparse vectors, made by the same code for Qdrant Edge and for a Qdrant server.

The weight of a term depends on the mean length of a passage, which is therefore fixed when an index is
created and saved with it: vectors made with different means do not compare. The inverse document frequency is
Qdrant's part.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import qdrant_edge

DEFAULT_AVERAGE_LENGTH = 120.0
"""Mean number of indexed terms of a passage, where there are no passages yet to count."""

_TOKEN = re.compile(r"\w+(?:[-/.:_]\w+)*")

KEYWORDS = 2
"""Terms up to which a question is a search for words."""
EARLIER = 0.5
"""What a word of the question before a follow-up weighs beside one of its own."""
K1 = 1.2
B = 0.75


@dataclass(frozen=True, slots=True)
class SparseTerms:
    """A sparse vector: ``values[i]`` is the weight of the term with hash ``indices[i]``."""

    indices: list[int]
    values: list[float]


class Bm25Encoder:
    """Text to BM25 weights (Robertson and Zaragoza, 2009), English stems and stop words. Thread-safe."""

    def __init__(self, average_length: float) -> None:
        if not (math.isfinite(average_length) and average_length > 0):
            raise ValueError(f"A mean passage length of {average_length} makes no sense.")
        self.average_length = average_length
        self._bm25 = qdrant_edge.Bm25(
            qdrant_edge.Bm25Config(k=K1, b=B, avg_len=average_length, language="english", lowercase=True)
        )

    def passage(self, text: str) -> SparseTerms:
        """The weights of a passage's terms. Without any term both lists are empty."""
        vector = self._bm25.embed_document(text)
        return SparseTerms(list(vector.indices), list(vector.values))

    def query(self, text: str) -> SparseTerms:
        """Each distinct term of a question with weight 1; stop words are none."""
        vector = self._bm25.embed_query(text)
        return SparseTerms(list(vector.indices), list(vector.values))

    def follow_up(self, text: str, earlier: str) -> SparseTerms:
        """Those of a question, and of the one before it with :data:`EARLIER` of the weight."""
        now = self.query(text)
        weights = dict(zip(now.indices, now.values, strict=True))
        before = self.query(earlier)
        for index, value in zip(before.indices, before.values, strict=True):
            weights[index] = weights.get(index, 0.0) + EARLIER * value
        return SparseTerms(list(weights), list(weights.values()))

    def lists(self, text: str, earlier: str = "") -> tuple[SparseTerms, SparseTerms]:
        """What is searched for by words: all of them, and what is meant exactly."""
        if not earlier:
            return self.query(text), self.exact(text)
        return self.follow_up(text, earlier), self.exact(f"{earlier}\n{text}")

    def exact(self, text: str) -> SparseTerms:
        """The terms of a question that are meant exactly, often none: its order numbers, part codes and dates, or
        all of a search for one word or two.
        """
        identifiers = self.query(" ".join(filter(is_identifier, _TOKEN.findall(text))))
        return identifiers if identifiers.indices else _few(self.query(text))


_TERMS = Bm25Encoder(DEFAULT_AVERAGE_LENGTH)
_COUNTS = qdrant_edge.Bm25(
    qdrant_edge.Bm25Config(k=K1, b=0.0, avg_len=DEFAULT_AVERAGE_LENGTH, language="english", lowercase=True)
)


def _few(terms: SparseTerms) -> SparseTerms:
    return terms if len(terms.indices) <= KEYWORDS else SparseTerms([], [])


def is_identifier(token: str) -> bool:
    """Whether a token names one thing and is meant exactly: "QX-774", "48213"; not "2024", "p53" or "COVID-19"."""
    digits = sum(c.isdigit() for c in token)
    return digits >= 5 or (digits >= 3 and any(c.isalpha() for c in token))


def terms(text: str) -> frozenset[int]:
    """The hashes of a text's terms, as the index counts them: two words match when these meet."""
    return frozenset(_TERMS.query(text).indices)


@lru_cache(maxsize=1 << 16)
def _term(word: str) -> int | None:
    found = _TERMS.query(word).indices
    return found[0] if found else None


def term_sequence(text: str) -> list[int]:
    """The hashes of a text's terms in their order, repeated ones too, stop words left out."""
    return [term for word in _TOKEN.findall(text.lower()) if (term := _term(word)) is not None]


def average_length(texts: Iterable[str]) -> float:
    """Mean number of indexed terms of ``texts``, repeated ones counted, or the default where there are none."""
    total, count = 0.0, 0
    for text in texts:
        weights = _COUNTS.embed_document(text).values
        if len(weights):
            # Without a part for the length a term that stands n times weighs n (k + 1) / (n + k).
            total += sum(K1 * float(weight) / (K1 + 1 - float(weight)) for weight in weights)
            count += 1
    return total / count if count else DEFAULT_AVERAGE_LENGTH
