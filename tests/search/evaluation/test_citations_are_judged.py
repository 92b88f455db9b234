"""A citation is right where it quotes the answer's evidence, shortly; sentences count by whether they carry one."""

from __future__ import annotations

from search.evaluation.evidence import cited_sentences, evidence_spans, points_at_evidence
from search.evaluation.metrics import covered

PAGE = (
    "The Normans gave their name to Normandy, a region in France. They came from Denmark, Iceland and Norway. "
    "The coat of the cat is plush and soft. Its eyes are vivid green. In the 10th  century Rollo swore fealty."
)


def cite(words: str, *, more: int = 0) -> dict[str, int]:
    start = PAGE.index(words)
    return {"start": start, "end": start + len(words) + more}


def test_a_short_answer_is_where_its_words_stand() -> None:
    assert [PAGE[a:b] for a, b in evidence_spans(PAGE, ["france"])] == ["France"]
    assert [PAGE[a:b] for a, b in evidence_spans(PAGE, ["10th century"])] == ["10th  century"]


def test_a_word_within_another_is_no_place_of_an_answer() -> None:
    assert evidence_spans("The category of cathedrals.", ["cat"]) == []


def test_a_long_answer_is_in_the_sentences_that_say_it() -> None:
    answer = "Its coat is soft and plush, and the eyes of this cat are a vivid green."
    assert [PAGE[a:b] for a, b in evidence_spans(PAGE, [answer])] == [
        "The coat of the cat is plush and soft.",
        "Its eyes are vivid green.",
    ]


def test_a_citation_of_the_evidence_is_right_and_of_another_sentence_wrong() -> None:
    assert points_at_evidence(cite("a region in France."), PAGE, ["France"])
    assert not points_at_evidence(cite("They came from Denmark"), PAGE, ["France"])


def test_a_quote_of_more_than_300_characters_points_at_nothing() -> None:
    page = "France " + "x" * 400
    assert points_at_evidence({"start": 0, "end": 300}, page, ["France"])
    assert not points_at_evidence({"start": 0, "end": 301}, page, ["France"])


def test_without_known_answers_any_place_of_the_gold_page_will_do() -> None:
    assert points_at_evidence({"start": 0, "end": 10}, PAGE, [])


def test_sentences_count_by_their_marks() -> None:
    assert cited_sentences("It is in France [1]. It is a region. They left [2][3].") == (2, 3)
    assert cited_sentences("It is in France. [1] It is a region. [2][3]") == (2, 2), "as most models write it"
    assert cited_sentences("") == (0, 0)


def test_characters_are_covered_once() -> None:
    assert covered([(0, 10), (5, 15)], [(12, 20)]) == (3, 15, 8)
