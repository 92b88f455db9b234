"""Every mark of an answer stands for a place in a source; all others are gone, however the text is cut."""

from __future__ import annotations

import re
from dataclasses import replace
from uuid import uuid4

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from search.citations import AnswerWriter, Citation
from search.passages import Source

OFFSET = 100
TEXTS = {
    1: "The tariff is 20 euros per month. It starts in May 2024. Cancellation takes 30 days.",
    2: "Cats sleep 16 hours a day. Dogs sleep less.",
    3: "The warranty covers the motor for five years.",
}
SOURCES = [
    Source(n, uuid4(), uuid4(), uuid4(), "General", "T", 1, OFFSET, OFFSET + len(text), text, 1.0)
    for n, text in TEXTS.items()
]
ANSWERS = {
    "The tariff is 20 euros per month [1].": "The tariff is 20 euros per month [1].",
    "The tariff is 20 euros per month. [1] Dogs sleep less. [2]":
        "The tariff is 20 euros per month [1]. Dogs sleep less [2].",
    "Cats sleep 16 hours [7].": "Cats sleep 16 hours [2].",
    "Rockets land on the distant moon [7].": "Rockets land on the distant moon.",
    "Rockets land on the distant moon [1].": "Rockets land on the distant moon.",
    "The motor has a warranty of five years [3](http://evil.example/?q=secret).":
        "The motor has a warranty of five years [3].",
    "[1] The tariff is 20 euros per month.\n[2] Cats sleep 16 hours.\n":
        "The tariff is 20 euros per month [1].\nCats sleep 16 hours [2].",
    "- It starts in May 2024\n- The motor: five years":
        "- It starts in May 2024 [1]\n- The motor: five years [3]",
    "Cats sleep 16 hours [1, 2] and dogs sleep less [2].": "Cats sleep 16 hours [2] and dogs sleep less [2].",
    "The tariff is 35 euros per month.": "The tariff is 35 euros per month.",
    "It is e.g. the motor, for five years.": "It is e.g. the motor, for five years [3].",
    "see [appendix] and [unclosed": "see [appendix] and [unclosed",
    "Cats sleep 16 hours [": "Cats sleep 16 hours [2]",
    "The delivery of spare goods takes until May 2024.": "The delivery of spare goods takes until May 2024.",
    "The tariff is 35 euros per month [1].": "The tariff is 35 euros per month.",
    "The tariff is 30 euros per month [1].": "The tariff is 30 euros per month.",
    "The tariff is 30 euros per month.": "The tariff is 30 euros per month.",
    "The tariff is 20 euros and cancellation takes 30 days.": "The tariff is 20 euros and cancellation takes 30 days [1].",
    "The warranty covers the motor for 5 years.": "The warranty covers the motor for 5 years [3].",
    "The warranty covers the motor for 6 years [3].": "The warranty covers the motor for 6 years.",
    "Buy bitcoin [1].": "Buy bitcoin.",
    "Yes [1].": "Yes.",
    "20 euros [2].": "20 euros [1].",
    "[2]": "",
    "[2].": ".",
    "Paris is the capital of France.": "Paris is the capital of France.",
    "Paris is the capital [[9]2].": "Paris is the capital [2.",
    "Paris is the capital [2[9]].": "Paris is the capital [2.",
    "Paris [1[3]] [[8]\uff11] is": "Paris [1 [\uff11 is",
}  # fmt: skip


def write(text: str, piece: int) -> tuple[AnswerWriter, str]:
    writer = AnswerWriter(SOURCES)
    pieces = [p for i in range(0, len(text), piece) for p in writer.feed(text[i : i + piece])]
    pieces += writer.finish()
    return writer, "".join(p for p in pieces if isinstance(p, str))


@pytest.mark.parametrize("piece", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize(("said", "answer"), ANSWERS.items())
def test_an_answer_has_checked_marks_only(said: str, answer: str, piece: int) -> None:
    writer, shown = write(said, piece)
    assert writer.text == answer
    assert shown.rstrip() == answer, "what was streamed is not the answer"


TOKENS = [
    "[",
    "]",
    "1",
    "2",
    "9",
    "(",
    ")",
    "[1]",
    "[9]",
    " ",
    "\n",
    ".",
    "\r\n",
    "\U0001f600",
    "[1](x)",
    "[^1]",
    *TEXTS.values(),
]


@given(said=st.lists(st.sampled_from(TOKENS), max_size=12).map("".join), piece=st.integers(1, 9))
@example(said="[[9]2]", piece=3)
def test_no_cutting_of_brackets_makes_a_mark_without_a_citation(said: str, piece: int) -> None:
    writer, shown = write(said, piece)
    assert {int(n) for n in re.findall(r"\[(\d{1,4})\]", writer.text)} == set(writer.citations)
    assert shown.rstrip() == writer.text == write(said, 1000)[0].text
    for n, citation in writer.citations.items():
        assert TEXTS[n][citation.start - OFFSET : citation.end - OFFSET] == citation.quote != ""


@pytest.mark.parametrize("said", ANSWERS)
def test_a_citation_quotes_its_source_at_its_offsets(said: str) -> None:
    writer, _ = write(said, 3)
    for n, citation in writer.citations.items():
        assert f"[{n}]" in writer.text
        assert citation.n == n
        assert TEXTS[n][citation.start - OFFSET : citation.end - OFFSET] == citation.quote != ""


def test_the_meaning_does_not_make_another_number_right() -> None:
    writer = AnswerWriter(SOURCES, lambda sentence, source: 0.9)
    writer.feed("The tariff is 35 euros per month [1].")
    writer.finish()
    assert writer.citations == {}


def test_a_number_of_the_title_may_be_said() -> None:
    titled = [replace(SOURCES[0], title="Report 2026"), *SOURCES[1:]]
    writer = AnswerWriter(titled)
    writer.feed("In 2026 the tariff is 20 euros per month.")
    writer.finish()
    assert set(writer.citations) == {1}


def test_the_quote_is_the_sentence_that_supports() -> None:
    writer, _ = write("Dogs sleep less [2].", 5)
    assert writer.citations[2].quote == "Dogs sleep less."


def quotes(said: str, *texts: str) -> dict[int, str]:
    """The quotes of an answer from passages with these texts."""
    sources = [replace(SOURCES[0], n=n, start=0, end=len(t), text=t) for n, t in enumerate(texts, 1)]
    writer = AnswerWriter(sources)
    writer.feed(said)
    writer.finish()
    return {n: citation.quote for n, citation in writer.citations.items()}


def test_the_quote_is_the_row_of_a_table() -> None:
    rows = [
        "Part: WJ-204; Price: 38.5; Days: 3",
        "Part: GB-110; Price: 1240; Days: 21",
        "Part: CB-031; Price: 680; Days: 14",
    ]
    table = "Part | Price | Days\n" + "\n".join(rows)
    assert quotes("The part GB-110 takes 21 days.", table) == {1: rows[1]}


def test_the_quote_is_not_a_heading_where_a_sentence_says_as_much() -> None:
    text = "Sick leave\n\nStay at home.\n\nA doctor's note is needed from the fourth day on."
    assert quotes("Sick leave requires a doctor's note.", text) == {
        1: "A doctor's note is needed from the fourth day on."
    }


def test_a_heading_that_alone_supports_is_the_quote() -> None:
    assert quotes("Parental leave plan.", "Parental leave plan\n\nAsk the office.") == {
        1: "Parental leave plan"
    }


def test_of_two_passages_that_have_all_words_the_one_that_says_only_this_is_cited() -> None:
    long = "After the work, run the calibration programme C3 and record the result in the service log."
    assert quotes("Run programme C3.", long, "The calibration is old. Run programme C3.") == {
        2: "Run programme C3."
    }


def test_a_source_cited_for_two_places_is_quoted_from_the_first_to_the_last() -> None:
    writer, _ = write("The tariff is 20 euros per month [1]. Cancellation takes 30 days [1].", 5)
    assert writer.citations[1].quote == TEXTS[1]


def test_what_the_words_do_not_show_the_meaning_may() -> None:
    asked: list[str] = []

    def semantic(sentence: str, source: Source) -> float:
        asked.append(sentence)
        return 0.9 if source.n == 3 else 0.0

    writer = AnswerWriter(SOURCES, semantic)
    pieces = writer.feed("Der Antrieb ist lange abgesichert [3]. ") + writer.finish()
    assert asked
    assert any(isinstance(piece, Citation) and piece.n == 3 for piece in pieces)


def test_one_word_is_cited_where_it_is_the_answer() -> None:
    brief = AnswerWriter(SOURCES, question="Which animals sleep less?", brief=True)
    brief.feed("Dogs")
    brief.finish()
    assert brief.text == "Dogs [2]"
    assert brief.citations[2].quote == "Dogs sleep less."
    usual = AnswerWriter(SOURCES)
    usual.feed("Dogs")
    usual.finish()
    assert usual.text == "Dogs"


def test_an_answer_of_few_words_is_cited_where_the_question_is_spoken_of() -> None:
    both = [
        replace(SOURCES[0], n=n, text=text, end=OFFSET + len(text), score=1 / n)
        for n, text in enumerate(
            ("The parcel weighs 30 kg. It is blue.", "A letter goes up to 30 kg. It is blue."), 1
        )
    ]
    for question, n in (("How much does the parcel weigh?", 1), ("How heavy may a letter be?", 2)):
        writer = AnswerWriter(both, question=question, brief=True)
        writer.feed("30 kg")
        writer.finish()
        assert list(writer.citations) == [n]
    writer = AnswerWriter(both, question="Which colour?", brief=True)
    writer.feed("blue")
    writer.finish()
    assert list(writer.citations) == [1], "of equal ones the passage that was found first"


def test_of_a_long_sentence_the_words_that_say_it_are_quoted() -> None:
    filler = "and so on, " * 40
    text = f"{filler}the pump is served every 400 hours by two people, {filler}until it ends."
    long = [replace(SOURCES[0], text=text, end=OFFSET + len(text))]
    writer = AnswerWriter(long, question="How often is the pump served?", brief=True)
    writer.feed("every 400 hours")
    writer.finish()
    quote = writer.citations[1].quote
    assert len(quote) <= 300
    assert "the pump is served every 400 hours" in quote
    assert text[writer.citations[1].start - OFFSET : writer.citations[1].end - OFFSET] == quote


def test_a_name_that_neither_passage_nor_question_has_is_supported_by_none() -> None:
    for said, cited in (
        ("The warranty covers the motor for five years.", True),
        ("The warranty of Northwind covers the motor for five years.", True),
        ("The warranty of Acme's covers the motor for five years.", True),
        ("The warranty of Globex covers the motor for five years.", False),
        ("Die Garantie covers the motor mit Warranty und Motor.", True),
    ):
        sources = [replace(SOURCES[2], title="Northwind")]
        writer = AnswerWriter(sources, question="What does Acme guarantee?")
        writer.feed(said)
        writer.finish()
        assert bool(writer.citations) is cited, said


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("The festival takes place in May. It is loud.", "in May"),
        ("The rule was made by the WHO.", "the WHO"),
        ("\u65e5\u672c\u306e\u9996\u90fd\u306f\u6771\u4eac\u3067\u3059\u3002", "\u6771\u4eac"),
        ("There are three rooms in the house.", "3"),
        ("There are 3 rooms in the house.", "Three"),
    ],
)
def test_a_brief_answer_without_content_words_is_cited_where_it_stands(text: str, answer: str) -> None:
    writer = AnswerWriter([replace(SOURCES[0], text=text, end=OFFSET + len(text))], brief=True)
    writer.feed(answer)
    writer.finish()
    assert list(writer.citations) == [1]
    other = AnswerWriter([replace(SOURCES[0], text=text, end=OFFSET + len(text))], brief=True)
    other.feed("the FIFA")
    other.finish()
    assert other.citations == {}
