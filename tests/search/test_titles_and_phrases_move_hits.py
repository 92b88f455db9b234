"""After the index: a passage whose title or heading was asked for, or with the question's words side by side, moves up."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from search.hits import Hit
from search.index.sparse import EARLIER, Bm25Encoder, term_sequence
from search.ranking import PHRASES, TITLE, by_title_and_phrases
from search.retrieval import readable_collections, retrieve
from tenants.models import Organization
from tests.search.corpus_rows import EMBEDDER, document


def hit(text: str, title: str = "", score: float = 1.0, headings: tuple[str, ...] = ()) -> Hit:
    own = uuid.uuid4()
    values: dict[str, Any] = {
        "chunk_id": own, "document_id": own, "version_id": own, "collection_id": own, "collection_name": "",
        "title": title, "media_type": "text/plain", "dated": None, "author": "", "language": "en", "page": 1,
        "start": 0, "end": len(text), "text": text, "headings": headings, "label": "", "within": "", "score": score,
        "similarity": 0.0,
    }  # fmt: skip
    return Hit(**values)


def test_a_title_or_heading_that_was_asked_for_counts_by_its_share() -> None:
    hits = [
        hit("x"),
        hit("x", title="Travel expenses"),
        hit("x", title="The expenses of the harbour"),
        hit("x", title="a.txt", headings=("Money", "Travel expenses")),
    ]
    ordered = by_title_and_phrases("How do I claim travel expenses?", hits)
    assert [round(each.score - 1.0, 3) for each in ordered] == [TITLE + PHRASES / 2] * 2 + [TITLE / 2, 0.0]
    assert [each.chunk_id for each in ordered[:2]] == [hits[1].chunk_id, hits[3].chunk_id]


def test_neighbouring_words_of_the_question_count_where_they_are_neighbours() -> None:
    apart = hit("The committee met. Standing water was found; the inquiry goes on.")
    together = hit("The standing committee opened the inquiry.")
    ordered = by_title_and_phrases("standing committee inquiry", [apart, together])
    assert ordered[0].chunk_id == together.chunk_id
    assert ordered[0].score - 1.0 == pytest.approx(PHRASES / 2)
    assert ordered[1].score == 1.0


def test_a_question_without_words_moves_nothing() -> None:
    hits = [hit("a", score=0.5), hit("b", score=0.9)]
    assert by_title_and_phrases("the of ?", hits) == hits


def test_terms_keep_their_order_and_their_stems() -> None:
    assert term_sequence("Foxes running") == term_sequence("the fox RUNS")
    assert term_sequence("running foxes") == term_sequence("foxes running")[::-1]


def test_a_follow_up_weighs_its_own_words_more() -> None:
    encoder = Bm25Encoder(120.0)
    terms = encoder.follow_up("impeller speed", "pump speed")
    weights = dict(zip(terms.indices, terms.values, strict=True))
    (impeller,), (pump,), (speed,) = (encoder.query(word).indices for word in ("impeller", "pump", "speed"))
    assert (weights[impeller], weights[pump], weights[speed]) == (1.0, EARLIER, 1.0 + EARLIER)


def test_a_follow_up_finds_what_neither_question_finds_alone(acme: Organization) -> None:
    document(acme, "Pumps", ["The north pump is oiled in spring.", "The south pump is oiled in autumn."])
    document(acme, "Boats", ["The ferry is painted in autumn.", "The north pier is closed in winter."])

    def first(query: str, earlier: str = "") -> str:
        found = retrieve(
            organization=acme, collection_ids=readable_collections(acme), query=query, earlier=earlier,
            embedder=EMBEDDER,
        )  # fmt: skip
        return found.hits[0].text

    assert (
        first("And the south one?", "When is the north pump oiled?") == "The south pump is oiled in autumn."
    )
    assert (
        first("Which pier is closed?", "When is the north pump oiled?")
        == "The north pier is closed in winter."
    )
