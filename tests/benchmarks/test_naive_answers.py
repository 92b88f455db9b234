"""The peer's refusals and marks are told from its words."""

from __future__ import annotations

import pytest

from benchmarks.naive_answers import marks, refuses
from benchmarks.quality import printed


@pytest.mark.parametrize(
    ("text", "refusal"),
    [
        ("not in the documents", True),
        ("That is not mentioned in the passages.", True),
        ("Not in the documents.", True),
        ("", True),
        ("Normandy is in France.", False),
        ("It is in the documents of 1066.", False),
    ],
)
def test_a_refusal_is_told_by_its_phrase(text: str, refusal: bool) -> None:
    assert refuses(text) is refusal


def test_marks_of_passages_that_there_are_count_once() -> None:
    assert marks("In France [1]. Rollo [3][1], and [9] or [0].") == [1, 3]


def test_the_table_has_a_row_for_each_metric_that_somebody_has() -> None:
    table = printed({"squad2": {"questions": 2, "token_f1": 0.5}, "squad2 peer": {"questions": 2}})
    assert table.splitlines()[0] == "| | squad2 | squad2 peer |"
    assert "| token_f1 | 0.500 |  |" in table
    assert "ndcg@10" not in table
