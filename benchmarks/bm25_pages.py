"""The peer of our retrieval from files: BM25 over whole pages, as our parsers read them, title and text together.

The usual settings (k1 1.2, b 0.75, Snowball's English stems, English stop words, Lucene's inverse document frequency). It is
no weaker than bm25s 0.3.16 with the same ones: nDCG@10 on SciFact .685 (bm25s .679), on product-docs .754 (.702).
"""

from __future__ import annotations

import math
import re
import time
from collections import Counter
from collections.abc import Sequence

from search.evaluation.asking import FIRST, Asking, Outcome, judge_ranking
from search.evaluation.suites import SuiteQuestion
from search.index.sparse import term_sequence

K1 = 1.2
B = 0.75
_WORD = re.compile(r"\w\w+")
Page = tuple[str, int]
"""A document's name in the suite, and the page's number."""


class Bm25:
    """BM25 (Robertson and Zaragoza, 2009) over texts held in memory."""

    def __init__(self, texts: Sequence[str]) -> None:
        lengths = []
        self._postings: dict[int, list[tuple[int, int]]] = {}
        for number, text in enumerate(texts):
            terms = _terms(text)
            lengths.append(len(terms))
            for term, count in Counter(terms).items():
                self._postings.setdefault(term, []).append((number, count))
        mean = sum(lengths) / len(lengths)
        self._saturation = [K1 * (1 - B + B * length / mean) for length in lengths]

    def ranked(self, query: str) -> list[int]:
        """The numbers of the texts that share a term with ``query``, best first."""
        scores = self.scores(query)
        return sorted(scores, key=lambda number: (-scores[number], number))

    def scores(self, query: str) -> dict[int, float]:
        """By the numbers of those texts."""
        total = len(self._saturation)
        scores: dict[int, float] = {}
        for term in _terms(query):
            postings = self._postings.get(term, [])
            rarity = math.log(1 + (total - len(postings) + 0.5) / (len(postings) + 0.5))
            for number, count in postings:
                gain = rarity * count / (count + self._saturation[number])
                scores[number] = scores.get(number, 0.0) + gain
        return scores


class Pages:
    """The published pages of an organisation, ranked by BM25."""

    def __init__(self, asking: Asking) -> None:
        from search.models import Page as Row
        from tenants.scope import tenant_scope

        with tenant_scope(asking.organization):
            rows = list(
                Row.objects.filter(version__published_for__isnull=False)
                .order_by("version__document__external_id", "number")
                .values_list("version__document_id", "version__document__title", "number", "text")
            )
        self.keys: list[Page] = [(asking.names[document], number) for document, _, number, _ in rows]
        self._bm25 = Bm25([f"{title}\n{text}" for _, title, _, text in rows])

    def ranked(self, query: str) -> list[Page]:
        """Pages, best first."""
        return [self.keys[number] for number in self._bm25.ranked(query)]


def ask(question: SuiteQuestion, pages: Pages) -> Outcome:
    """One question, with the same metrics as ours."""
    outcome = Outcome(question, query=question.text)
    begun = time.perf_counter()
    ranked = pages.ranked(question.text)
    outcome.timings["retrieval_s"] = time.perf_counter() - begun
    judge_ranking(outcome, ranked)
    outcome.passages = [{"name": name, "page": page} for name, page in ranked[:FIRST]]
    return outcome


def _terms(text: str) -> list[int]:
    return term_sequence(" ".join(_WORD.findall(text)))
