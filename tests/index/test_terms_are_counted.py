"""The mean length counts every term of a passage, and what a question means exactly is recognised."""

from __future__ import annotations

import pytest

from search.index.sparse import DEFAULT_AVERAGE_LENGTH, Bm25Encoder, average_length, is_identifier

BM25 = Bm25Encoder(DEFAULT_AVERAGE_LENGTH)


def test_repeated_terms_count_as_often_as_they_stand() -> None:
    assert average_length(["pump " * 90 + "valve " * 10]) == pytest.approx(100, rel=1e-3)
    assert average_length(["pump valve", "pump the pump of pumps and valve", ""]) == pytest.approx(
        3, rel=1e-3
    )


def test_without_a_term_the_mean_is_the_default() -> None:
    assert average_length(["", "the of and"]) == DEFAULT_AVERAGE_LENGTH


@pytest.mark.parametrize("token", ["QX-7741", "INV20931", "48213", "2024-05-31", "ISO-9001", "A-123"])
def test_what_names_one_thing_is_an_identifier(token: str) -> None:
    assert is_identifier(token)


@pytest.mark.parametrize("token", ["2024", "p53", "COVID-19", "R7", "tariff", "e-mail", ""])
def test_words_and_small_numbers_are_none(token: str) -> None:
    assert not is_identifier(token)


def test_a_question_means_its_identifiers_exactly_and_a_search_for_words_all() -> None:
    assert BM25.exact("When was the invoice QX-7741 paid?") == BM25.query("QX-7741")
    assert BM25.exact("the zephyr contract") == BM25.query("zephyr contract")
    assert BM25.exact("Who signed the contract with zephyr?").indices == []
    assert BM25.exact("the of").indices == []
