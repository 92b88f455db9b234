"""A question finds its passages, with everything that a result shows."""

from __future__ import annotations

from datetime import date

import pytest

from search.index import Vector
from search.retrieval import Retrieval, SearchFilters, readable_collections, retrieve
from tenants.models import Organization
from tests.search.corpus_rows import EMBEDDER, collection, document


def ask(
    organization: Organization, query: str, limit: int = 10, filters: SearchFilters | None = None
) -> Retrieval:
    return retrieve(
        organization=organization,
        collection_ids=readable_collections(organization),
        query=query,
        limit=limit,
        filters=filters,
        embedder=EMBEDDER,
    )


def test_the_right_passage_comes_first_and_whole(acme: Organization) -> None:
    pump = document(
        acme,
        "Pump manual",
        ["The pump is oiled every spring.", "The impeller turns at 1450 rpm."],
        collection_name="Manuals",
        dated=date(2021, 4, 3),
    )
    document(acme, "Menu", ["Monday soup, Tuesday fish.", "Coffee is free."])
    found = ask(acme, "How fast does the impeller turn?")
    hit = found.hits[0]
    assert hit.text == "The impeller turns at 1450 rpm."
    assert (hit.document_id, hit.title, hit.collection_name) == (pump.id, "Pump manual", "Manuals")
    assert (hit.page, hit.start, hit.end, hit.headings) == (2, 0, 31, ("Part one",))
    assert (hit.media_type, hit.dated, hit.author, hit.language) == (
        "application/pdf",
        date(2021, 4, 3),
        "Alice",
        "en",
    )
    assert [h.score for h in found.hits] == sorted((h.score for h in found.hits), reverse=True)


def test_the_similarity_is_the_cosine_with_the_rows_own_embedding(acme: Organization) -> None:
    text = "The impeller turns at 1450 rpm."
    document(acme, "Pump manual", [text, "The pump is oiled every spring."])
    found = ask(acme, text)
    assert found.hits[0].similarity == pytest.approx(1.0, abs=2e-3)
    expected = float(EMBEDDER.embed_query(text) @ EMBEDDER.embed_query("The pump is oiled every spring."))
    assert found.hits[1].similarity == pytest.approx(expected, abs=2e-3)
    assert found.best_similarity == found.hits[0].similarity


def test_the_end_of_a_long_question_is_read_too(acme: Organization) -> None:
    read: list[str] = []

    class Short:
        """Reads the first 800 characters of a text, as a real embedder reads its first tokens."""

        def embed_query(self, text: str) -> Vector:
            read.append(text)
            return EMBEDDER.embed_query(text[:800])

    document(acme, "Pump manual", ["The impeller turns at 1450 rpm.", "The pump is oiled every spring."])
    long = "We wonder about many things nobody told. " * 60 + "How fast does the impeller turn?"
    found = retrieve(
        organization=acme, collection_ids=readable_collections(acme), query=long, embedder=Short()
    )
    assert found.hits[0].text == "The impeller turns at 1450 rpm."
    nearest = max(
        float(EMBEDDER.embed_query(part) @ EMBEDDER.embed_query(found.hits[0].text)) for part in read
    )
    assert found.best_similarity == pytest.approx(nearest, abs=2e-3)
    assert "".join(read).replace(" ", "") == long.replace(" ", "")
    assert max(map(len, read)) <= 800


def test_a_question_about_something_else_has_a_low_similarity(acme: Organization) -> None:
    document(acme, "Pump manual", ["The impeller turns at 1450 rpm."])
    assert ask(acme, "holiday allowance sweden").best_similarity < 0.3


def test_words_of_the_title_count(acme: Organization) -> None:
    for n in range(30):
        document(acme, f"Letter {n}", [f"See page {n} of the appendix."])
    wanted = document(acme, "Zephyr contract", ["Payment is due in thirty days."])
    assert wanted.id in [hit.document_id for hit in ask(acme, "zephyr", limit=20).hits]


def test_the_same_text_is_shown_once(acme: Organization) -> None:
    for n in range(4):
        document(
            acme,
            f"Copy {n}",
            ["The impeller  turns at\n1450 RPM." if n else "the impeller turns at 1450 rpm."],
        )
    document(acme, "Other", ["The impeller is made of bronze."])
    assert len(ask(acme, "impeller").hits) == 2


def test_the_limit_holds_and_an_empty_question_finds_nothing(acme: Organization) -> None:
    document(acme, "A", [f"impeller number {n}" for n in range(30)])
    assert len(ask(acme, "impeller", limit=7).hits) == 7
    assert ask(acme, "   ") == Retrieval()
    assert ask(acme, "impeller", limit=0) == Retrieval()


def test_a_very_long_question_is_answered(acme: Organization) -> None:
    document(acme, "A", ["impeller speed 1450"])
    assert ask(acme, "impeller " * 20_000).hits


def test_filters_narrow_by_type_date_document_and_collection(acme: Organization) -> None:
    old = document(acme, "Old", ["impeller one"], dated=date(1969, 12, 31))
    new = document(acme, "New", ["impeller two"], dated=date(2024, 6, 1), media_type="text/plain")
    far = document(acme, "Far", ["impeller three"], collection_name="Archive")

    def titles(filters: SearchFilters) -> set[str]:
        return {hit.title for hit in ask(acme, "impeller", filters=filters).hits}

    assert titles(SearchFilters()) == {"Old", "New", "Far"}
    assert titles(SearchFilters(media_types=("text/plain",))) == {"New"}
    assert titles(SearchFilters(document_ids=(old.id, far.id))) == {"Old", "Far"}
    assert titles(SearchFilters(collection_ids=(far.collection_id,))) == {"Far"}
    assert titles(SearchFilters(dated_from=date(2024, 6, 1))) == {"New"}
    assert titles(SearchFilters(dated_to=date(1969, 12, 31))) == {"Old"}
    assert titles(SearchFilters(dated_from=date(1960, 1, 1), dated_to=date(2025, 1, 1))) == {"Old", "New"}
    assert titles(SearchFilters(media_types=("text/plain",), document_ids=(old.id,))) == set()
    assert new.id


def test_filters_narrow_by_author_and_language(acme: Organization) -> None:
    document(acme, "Old", ["impeller one"], author="Ada Lovelace; Charles Babbage", language="en")
    document(acme, "New", ["impeller two"], author="ada lovelace", language="de")
    document(acme, "Far", ["impeller three"], author="", language="")

    def titles(filters: SearchFilters) -> set[str]:
        return {hit.title for hit in ask(acme, "impeller", filters=filters).hits}

    assert titles(SearchFilters(authors=("Ada Lovelace",))) == {"Old", "New"}
    assert titles(SearchFilters(authors=("Charles Babbage",))) == {"Old"}
    assert titles(SearchFilters(languages=("de", "fr"))) == {"New"}
    assert titles(SearchFilters(authors=("Ada Lovelace",), languages=("en",))) == {"Old"}
    assert titles(SearchFilters(authors=("Ada",))) == set()
    facets = ask(acme, "impeller").facets
    assert [(f.value, f.count) for f in facets.languages] == [("de", 1), ("en", 1)]
    assert {f.value for f in facets.authors} == {"Ada Lovelace; Charles Babbage", "ada lovelace"}
    for facet in facets.authors:
        assert titles(SearchFilters(authors=(facet.value,)))


def test_facets_count_the_results(acme: Organization) -> None:
    document(acme, "A", ["impeller one", "impeller two"], dated=date(2020, 1, 1))
    document(acme, "B", ["impeller three"], dated=date(2023, 1, 1), media_type="text/plain")
    document(acme, "C", ["impeller four"], collection_name="Archive", media_type="text/plain")
    facets = ask(acme, "impeller", limit=1).facets
    assert [(f.value, f.count) for f in facets.media_types] == [("application/pdf", 2), ("text/plain", 2)]
    assert [(f.label, f.count) for f in facets.years] == [("2023", 1), ("2020", 2)]
    assert [(f.label, f.count) for f in facets.collections] == [("General", 3), ("Archive", 1)]
    assert facets.collections[1].value == str(collection(acme, "Archive").id)
