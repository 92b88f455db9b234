"""A question for a number, or for a past time, is not answered by a text without one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from search.answer_kinds import (
    asks_for_quantity,
    asks_for_time,
    is_of_the_kind_asked_for,
    states_quantity,
    states_time,
)

SHARED = Path(__file__).parents[2].parent / "shared" / "eval" / "qa"


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("How many R7 arms were sold in the third quarter?", "412 R7 arms were sold [3]."),
        ("How many R7 arms were sold in the third quarter?", "R7 arm: 412 in the third quarter of 2026 [3]"),
        ("How many days of vacation do I have?", "You have thirty days [1]."),
        ("How much is the daily allowance?", "It is €28.50 per day [2]."),
        ("How much does it weigh?", "It weighs 24kg [1]."),
        ("How many people were there in 1990?", "There were 2004 people [1]."),
        ("Wie viele Tage Urlaub gibt es?", "Es gibt 30 Tage [1]."),
        ("How much did the sales rise?", "They rose by 18 percent [1]."),
        ("How many percent of the arms came back?", "1.4 percent [1]."),
        ("How many exceptions are there?", "There are no exceptions [1]."),
    ],
)
def test_a_number_of_its_own_answers(question: str, answer: str) -> None:
    assert asks_for_quantity(question)
    assert states_quantity(question, answer)


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("How many R7 arms were sold in the third quarter?", "R7 arm: third quarter 2026 [3]"),
        ("How many R7 arms were sold in the third quarter?", "The R7 arm [12]."),
        ("How many of the 30 days may be carried over?", "Of the 30 days, some may be carried over [1]."),
        ("How much is the fee?", "The fee is paid monthly [1]."),
        ("How many arms were sold?", "The arm was sold, 18 percent more than before [2]."),
        ("How many arms were sold?", "18% more [2]."),
    ],
)
def test_what_the_question_says_itself_does_not(question: str, answer: str) -> None:
    assert asks_for_quantity(question)
    assert not states_quantity(question, answer)


def test_other_questions_are_not_judged() -> None:
    for question in ("Who is responsible?", "When do I need approval?", "Which door code opens room Elder?"):
        assert is_of_the_kind_asked_for(question, "The office.")


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("When was the plant opened?", "The plant was opened in 1998 [1]."),
        ("When was the plant opened?", "It was opened last spring [1]."),
        ("When did the 2020 contract end?", "The 2020 contract ended on 3 May [2]."),
        ("In which century was it built?", "In the nineteenth [1]."),
        ("When did sales stop?", "They stopped after the recall [1]."),
        ("Wann wurde das Werk eröffnet?", "Das Werk wurde im Mai eröffnet [1]."),
    ],
)
def test_a_time_of_its_own_answers(question: str, answer: str) -> None:
    assert asks_for_time(question)
    assert is_of_the_kind_asked_for(question, answer)


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("When was the plant opened?", "Opening of the plant [2]."),
        ("When did sales of the third quarter 2026 begin?", "R7 arm: third quarter 2026 [3]"),
        ("What year was the treaty signed?", "The treaty was signed in Rome [1]."),
    ],
)
def test_a_text_without_a_time_does_not(question: str, answer: str) -> None:
    assert asks_for_time(question)
    assert not is_of_the_kind_asked_for(question, answer)


@pytest.mark.skipif(not SHARED.exists(), reason="the evaluation material is not here")
@pytest.mark.parametrize(
    ("asks", "states", "at_least", "share"),
    [(asks_for_quantity, states_quantity, 150, 0.05), (asks_for_time, states_time, 300, 0.01)],
    ids=["quantity", "time"],
)
def test_hardly_any_true_answer_of_public_questions_is_lost(
    asks: Callable[[str], bool], states: Callable[[str, str], bool], at_least: int, share: float
) -> None:
    asked = lost = 0
    for name in ("squad2", "xquad-en"):
        for line in (SHARED / name / "questions.jsonl").read_text(encoding="utf-8").splitlines():
            item = json.loads(line)
            if item["answerable"] and asks(item["question"]):
                asked += 1
                lost += not any(states(item["question"], answer) for answer in item["answers"])
    assert asked > at_least
    assert lost / asked < share
