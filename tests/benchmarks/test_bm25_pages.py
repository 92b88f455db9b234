"""The peer over whole pages ranks by BM25, and is judged like ours."""

from __future__ import annotations

import math

from benchmarks.bm25_pages import K1, B, Bm25
from search.evaluation.asking import Outcome, judge_ranking
from search.evaluation.suites import SuiteQuestion

TEXTS = [
    "Net sales of phones rose.",
    "Net sales of tablets and phones and phones fell a lot.",
    "Legal proceedings.",
]


def test_rare_words_and_short_texts_count_more() -> None:
    ranking = Bm25(TEXTS)
    assert ranking.ranked("tablets sales") == [1, 0]
    assert ranking.ranked("net sales") == [0, 1]
    assert ranking.ranked("the of") == ranking.ranked("zeppelin") == []


def test_the_score_is_the_papers() -> None:
    scores = Bm25(["apple apple pear", "plum"]).scores("apples")
    rarity = math.log(1 + (2 - 1 + 0.5) / (1 + 0.5))
    assert scores == {0: rarity * 2 / (2 + K1 * (1 - B + B * 3 / 2))}


def test_a_right_page_counts_among_the_first_five_pages() -> None:
    question = SuiteQuestion("1", "?", relevant={"a.pdf": 1}, derived_pages=(("a.pdf", 7),))
    near, far = Outcome(question), Outcome(question)
    others = [("b.pdf", page) for page in range(4)]
    judge_ranking(near, [*others, *others, ("a.pdf", 7)])
    judge_ranking(far, [*others, ("b.pdf", 7), ("a.pdf", 7)])
    assert (near.metrics["derived_page_hit@5"], far.metrics["derived_page_hit@5"]) == (1.0, 0.0)
    assert near.metrics["document_hit@5"] == 1.0
    assert "page_hit@5" not in near.metrics
