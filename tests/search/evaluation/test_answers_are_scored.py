"""Exact match and F1 of words, worked out by hand with the rules of SQuAD's script."""

from __future__ import annotations

import pytest

from search.evaluation.metrics import exact_match, normalised, token_f1


def test_case_punctuation_articles_and_white_space_do_not_count() -> None:
    assert normalised("  The  Normans, (an  A-team)! ") == "normans ateam"


def test_an_exact_match_is_with_any_of_the_accepted_answers() -> None:
    assert exact_match("the 10th century.", ["in 1066", "10th Century"]) == 1.0
    assert exact_match("10th and 11th centuries", ["10th century"]) == 0.0


def test_f1_is_the_harmonic_mean_of_precision_and_recall_of_words() -> None:
    # said: normandy is in france (4); wanted: france (1); shared 1: P 1/4, R 1
    assert token_f1("Normandy is in France.", ["France"]) == pytest.approx(2 * 0.25 * 1 / 1.25)


def test_f1_takes_the_best_accepted_answer() -> None:
    assert token_f1("Denmark and Norway", ["Iceland", "Denmark, Iceland and Norway"]) == pytest.approx(6 / 7)


def test_a_repeated_word_counts_as_often_as_both_have_it() -> None:
    assert token_f1("no no no", ["no no yes"]) == pytest.approx(2 * 2 / 6)


def test_nothing_said_matches_nothing_wanted_only() -> None:
    assert token_f1("", ["France"]) == 0.0
    assert token_f1("the", ["a"]) == 1.0
    assert token_f1("anything", []) == 0.0
