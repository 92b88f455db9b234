"""Every mark of an answer stands for a place in a source; all others are gone, however the text is cut."""

from __future__ import annotations

from uuid import uuid4

import pytest

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
    "[2]": "",
    "[2].": ".",
    "Paris is the capital of France.": "Paris is the capital of France.",
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


@pytest.mark.parametrize("said", ANSWERS)
def test_a_citation_quotes_its_source_at_its_offsets(said: str) -> None:
    writer, _ = write(said, 3)
    for n, citation in writer.citations.items():
        assert f"[{n}]" in writer.text
        assert citation.n == n
        assert TEXTS[n][citation.start - OFFSET : citation.end - OFFSET] == citation.quote != ""


def test_the_quote_is_the_sentence_that_supports() -> None:
    writer, _ = write("Dogs sleep less [2].", 5)
    assert writer.citations[2].quote == "Dogs sleep less."


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
