"""Scores of rankings, worked out by hand. On 300 random rankings they equalled pytrec_eval-terrier 0.5.11."""

from __future__ import annotations

import math

import pytest

from search.evaluation.metrics import mean, ndcg, quantile, recall, reciprocal_rank


def test_ndcg_discounts_by_the_logarithm_of_the_place() -> None:
    # gains 1 at place 2 and 2 at place 3: 1/log2(3) + 2/log2(4); ideal 2/log2(2) + 1/log2(3)
    score = ndcg(["x", "a", "b"], {"a": 1, "b": 2})
    assert score == pytest.approx((1 / math.log2(3) + 2 / 2) / (2 + 1 / math.log2(3)))
    assert score == pytest.approx(0.6199062332840657)


def test_ndcg_looks_at_the_first_ten_only() -> None:
    ranked = [f"x{n}" for n in range(10)] + ["a"]
    assert ndcg(ranked, {"a": 1}) == 0.0
    assert ndcg(ranked[1:], {"a": 1}) == pytest.approx(1 / math.log2(11))


def test_the_ideal_of_ndcg_is_cut_at_its_depth() -> None:
    relevant = {f"r{n}": 1 for n in range(20)}
    assert ndcg(list(relevant), relevant, 10) == pytest.approx(1.0)


def test_recall_is_the_share_of_the_relevant() -> None:
    ranked = ["a", "x", "b", "c"]
    assert recall(ranked, {"a": 1, "b": 1, "d": 1}, 3) == pytest.approx(2 / 3)
    assert recall(ranked, {"a": 1, "d": 0}, 1) == 1.0


def test_the_reciprocal_rank_is_of_the_first_relevant_one() -> None:
    assert reciprocal_rank(["x", "y", "a", "b"], {"a": 1, "b": 2}) == pytest.approx(1 / 3)
    assert reciprocal_rank(["x"] * 10 + ["a"], {"a": 1}) == 0.0


@pytest.mark.parametrize("score", [lambda r: ndcg(["a"], r), lambda r: recall(["a"], r, 10), lambda r: reciprocal_rank(["a"], r)])  # fmt: skip
def test_a_query_without_a_relevant_document_says_nothing(score: object) -> None:
    assert callable(score)
    assert score({}) is None
    assert score({"a": 0}) is None


def test_means_and_quantiles_leave_out_what_is_not_there() -> None:
    assert mean([1.0, None, 0.0]) == 0.5
    assert mean([None]) is None
    assert quantile([5.0, 1.0, 3.0, None, 2.0, 4.0], 0.5) == 3.0
    assert quantile([float(n) for n in range(1, 21)], 0.95) == 19.0
    assert quantile([], 0.5) is None
