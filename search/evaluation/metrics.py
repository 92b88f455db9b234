"""How good a ranking, an answer and a refusal are. Pure functions; every number is between 0 and 1 unless it is seconds.

What always holds: a question that a metric says nothing about gives None and is left out of its mean.
"""

from __future__ import annotations

import math
import re
import string
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def ndcg(ranked: Sequence[str], relevant: Mapping[str, int], depth: int = 10) -> float | None:
    """Normalised discounted cumulative gain with linear gain, as trec_eval's ``ndcg_cut``."""
    gains = (relevant.get(id, 0) / math.log2(n + 2) for n, id in enumerate(ranked[:depth]))
    ideal = sorted((r for r in relevant.values() if r > 0), reverse=True)[:depth]
    best = sum(r / math.log2(n + 2) for n, r in enumerate(ideal))
    return sum(gains) / best if best else None


def recall(ranked: Sequence[str], relevant: Mapping[str, int], depth: int) -> float | None:
    """Share of the relevant ones among the first ``depth``."""
    wanted = {id for id, score in relevant.items() if score > 0}
    return len(wanted & set(ranked[:depth])) / len(wanted) if wanted else None


def reciprocal_rank(ranked: Sequence[str], relevant: Mapping[str, int], depth: int = 10) -> float | None:
    """One over the place of the first relevant one, 0 where none is among the first ``depth``."""
    if not any(score > 0 for score in relevant.values()):
        return None
    places = (n for n, id in enumerate(ranked[:depth], 1) if relevant.get(id, 0) > 0)
    return 1 / next(places, math.inf)


def normalised(text: str) -> str:
    """An answer as SQuAD's script compares it: lower case, without punctuation, articles and surplus white space."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact_match(answer: str, accepted: Iterable[str]) -> float:
    """1 where the answer is one of the accepted ones."""
    return float(any(normalised(answer) == normalised(each) for each in accepted))


def token_f1(answer: str, accepted: Iterable[str]) -> float:
    """The best harmonic mean of precision and recall of words over the accepted answers (Rajpurkar et al., 2016)."""
    return max((_f1(normalised(answer).split(), normalised(each).split()) for each in accepted), default=0.0)


def _f1(said: Sequence[str], wanted: Sequence[str]) -> float:
    if not said or not wanted:
        return float(said == wanted)
    return f1(sum((Counter(said) & Counter(wanted)).values()), len(said), len(wanted))


def f1(right: int, found: int, wanted: int) -> float:
    """The harmonic mean of ``right / found`` and ``right / wanted``; 0 where nothing is right."""
    return 2 * right / (found + wanted) if right else 0.0


@dataclass(frozen=True, slots=True)
class Refusals:
    """How well "not in your documents" was decided. ``right``: refused and not answerable."""

    right: int
    refused: int
    unanswerable: int
    answerable: int

    @classmethod
    def of(cls, judged: Iterable[tuple[bool, bool]]) -> Refusals:
        """From pairs of (answerable, refused)."""
        pairs = list(judged)
        return cls(
            right=sum(refused and not answerable for answerable, refused in pairs),
            refused=sum(refused for _, refused in pairs),
            unanswerable=sum(not answerable for answerable, _ in pairs),
            answerable=sum(answerable for answerable, _ in pairs),
        )

    @property
    def precision(self) -> float | None:
        return self.right / self.refused if self.refused else (0.0 if self.unanswerable else None)

    @property
    def recall(self) -> float | None:
        return self.right / self.unanswerable if self.unanswerable else None

    @property
    def f1(self) -> float | None:
        return f1(self.right, self.refused, self.unanswerable) if self.unanswerable else None

    @property
    def false_refusal_rate(self) -> float | None:
        return (self.refused - self.right) / self.answerable if self.answerable else None

    def balanced_accuracy(self, answered: int) -> float | None:
        """The mean of what is right of the answerable ones, of which ``answered`` were (a failure is no answer), and of
        the unanswerable; always refusing gives 0.5."""
        if self.recall is None or not self.answerable:
            return None
        return (self.recall + answered / self.answerable) / 2


Span = tuple[int, int]


def covered(found: Iterable[Span], wanted: Iterable[Span]) -> tuple[int, int, int]:
    """Characters that both have, that ``found`` has, that ``wanted`` has; each counted once."""
    ours, theirs = set[int](), set[int]()
    for start, end in found:
        ours.update(range(start, end))
    for start, end in wanted:
        theirs.update(range(start, end))
    return len(ours & theirs), len(ours), len(theirs)


def overlaps(a: Span, b: Span) -> bool:
    """Whether two spans share a character."""
    return a[0] < b[1] and b[0] < a[1]


def mean(values: Iterable[float | None]) -> float | None:
    """Of those that are there; None where none is."""
    there = [value for value in values if value is not None]
    return sum(there) / len(there) if there else None


def quantile(values: Iterable[float | None], part: float) -> float | None:
    """The smallest value that at least ``part`` of them do not exceed; None where there is none."""
    ordered = sorted(value for value in values if value is not None)
    return ordered[max(0, math.ceil(part * len(ordered)) - 1)] if ordered else None
