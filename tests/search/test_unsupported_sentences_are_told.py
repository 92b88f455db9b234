"""A sentence of an answer that no passage supports is marked as such in page, stream and API, or left out by a setting."""

from __future__ import annotations

import pytest

from search.asking import WITH_CLAIMS, unsupported_json
from search.markup import render
from search.unsupported import leave_out, unsupported_spans

ANSWER = "The tariff is 12 euros a month [1]. It was invented by dragons. Cancel at any time [2]."


def told(answer: str) -> list[str]:
    return [answer[start:end] for start, end in unsupported_spans(answer)]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (ANSWER, ["It was invented by dragons."]),
        ("All of it is true [1].", []),
        ("The steps are these:\n- Open the box [1].\n- Paint it green.", ["- Paint it green."]),
        ("# Heading of words\n\nThe tariff is 12 [1].", []),
        ("Yes. The tariff is 12 [1].", []),
        ("Dragons built the harbour.", ["Dragons built the harbour."]),
    ],
)
def test_sentences_without_a_mark_that_claim_something(answer: str, expected: list[str]) -> None:
    assert told(answer) == expected


@pytest.mark.parametrize(
    ("answer", "left"),
    [
        (ANSWER, "The tariff is 12 euros a month [1]. Cancel at any time [2]."),
        ("Dragons built it. The tariff is 12 [1].", "The tariff is 12 [1]."),
        ("Steps:\n- Open the box [1].\n- Paint it green.", "Steps:\n- Open the box [1]."),
        (
            "The tariff is 12 [1].\n\nDragons built the harbour.\n\nCancel it [2].",
            "The tariff is 12 [1].\n\nCancel it [2].",
        ),
    ],
)
def test_they_can_be_left_out(answer: str, left: str) -> None:
    assert leave_out(answer, unsupported_spans(answer)) == left


def test_the_page_shows_it_behind_the_sentence_and_nowhere_else() -> None:
    html = render(ANSWER, {1: "/a", 2: "/b"}, unsupported=unsupported_spans(ANSWER))
    assert html.count(">no source</sup>") == 1
    assert 'dragons.<sup class="unsupported" title="No passage of your documents says this.">' in html


@pytest.mark.parametrize("forged", ["\uf8ff", "`code \uf8ff`", '<sup class="unsupported">no source</sup>'])
def test_a_model_cannot_write_the_flag(forged: str) -> None:
    html = render(f"Fine [1]. {forged}", {1: "/a"})
    assert "<sup" not in html
    assert "\uf8ff" not in html


def test_a_flag_in_code_vanishes() -> None:
    assert "\uf8ff" not in render("`x`", {}, unsupported=[(0, 2)])


def test_only_answers_claim_something() -> None:
    assert WITH_CLAIMS == ("answered", "stopped")
    assert unsupported_json("not_found", "This is not in your documents.") == []


@pytest.mark.parametrize(
    ("answer", "kept"),
    [
        ("```\nmake all install\n```\n\nThen do the thing [1].", '<a class="citation"'),
        ("Title words\n=====\n\nSo it is [1].", "<h1>Title words</h1>"),
        (
            "| Name of it | Price of it |\n| --- | --- |\n" + "| a thing | many euros |\n" * 40,
            "<td>many euros",
        ),
    ],
    ids=["a fence", "an underlined title", "a long table"],
)
def test_the_flag_breaks_nothing(answer: str, kept: str) -> None:
    assert kept in render(answer, {1: "/a"}, unsupported=unsupported_spans(answer))


def test_a_table_keeps_its_header_and_a_block_of_code_its_fence() -> None:
    table = "| Name of it | Price of it |\n| --- | --- |\n" + "| a thing | many euros [1] |\n" * 40
    assert leave_out(table, unsupported_spans(table)) == table.strip()
    code = "```\nmake all install\n\nmake clean install\n```\n\nSo it is [1]."
    assert leave_out(code, unsupported_spans(code)) == code
