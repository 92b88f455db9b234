"""Refusals: precision, recall, F1, false ones and balanced accuracy, worked out by hand."""

from __future__ import annotations

import pytest

from search.evaluation.metrics import Refusals


def test_the_numbers_of_ten_questions() -> None:
    # answerable: 6, of which 1 refused; unanswerable: 4, of which 3 refused
    judged = [(True, False)] * 5 + [(True, True)] + [(False, True)] * 3 + [(False, False)]
    found = Refusals.of(judged)
    assert found.precision == pytest.approx(3 / 4)
    assert found.recall == pytest.approx(3 / 4)
    assert found.f1 == pytest.approx(3 / 4)
    assert found.false_refusal_rate == pytest.approx(1 / 6)
    assert found.balanced_accuracy(5) == pytest.approx((3 / 4 + 5 / 6) / 2)
    assert found.balanced_accuracy(2) == pytest.approx((3 / 4 + 2 / 6) / 2), "a failure is no answer"


def test_always_refusing_is_half_right_in_balance() -> None:
    found = Refusals.of([(True, True)] * 5 + [(False, True)] * 5)
    assert found.f1 == pytest.approx(2 / 3)
    assert found.balanced_accuracy(0) == 0.5


def test_never_refusing_has_no_precision_to_speak_of() -> None:
    found = Refusals.of([(True, False), (False, False)])
    assert (found.precision, found.recall, found.f1, found.balanced_accuracy(1)) == (0.0, 0.0, 0.0, 0.5)


def test_without_unanswerable_questions_only_false_refusals_are_told() -> None:
    found = Refusals.of([(True, True), (True, False)])
    assert (found.recall, found.f1, found.balanced_accuracy(1)) == (None, None, None)
    assert found.false_refusal_rate == 0.5
