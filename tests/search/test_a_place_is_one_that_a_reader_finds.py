"""A passage's place is said as a reader of its file finds it: no "page 1" of a file that has no pages."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from django.http import QueryDict

from ingestion.parsers.csv import CSV
from ingestion.parsers.docx import DOCX
from ingestion.parsers.eml import EML
from ingestion.parsers.epub import EPUB
from ingestion.parsers.pdf import PDF
from ingestion.parsers.pptx import PPTX
from ingestion.parsers.xlsx import XLSX
from search import prompting
from search.citations import Citation
from search.conversations import Asker, create_turn, get_turn
from search.events import SourcesFound, data_of
from search.hits import Hit
from search.markup import render
from search.models import Chunk, Document, Page, Turn
from search.pages import search_page
from search.passages import choose_sources, widen
from search.places import LONGEST_PLACE, is_paged, place_of
from search.retrieval import retrieve
from tenants.models import Organization
from tenants.scope import tenant_scope
from tests.search.conftest import Library
from tests.search.test_api_search_finds_passages import Api, post

PATH = ("Travel", "Hotels")


@pytest.mark.parametrize(
    ("media_type", "page", "label", "headings", "place"),
    [
        (PDF, 7, "", PATH, "page 7"),
        (PDF, 7, "page 7 (iv)", PATH, "page 7 (iv)"),
        (PPTX, 4, "Slide 4", ("Results",), "Slide 4"),
        (XLSX, 2, "Sheet Prices", ("Prices",), "Sheet Prices"),
        (DOCX, 1, "", PATH, "Travel › Hotels"),
        (DOCX, 1, "", ("Handbook", *PATH), "Travel › Hotels"),
        (DOCX, 1, "", ("HANDBOOK",), ""),
        ("text/plain", 1, "", (), ""),
        (CSV, 1, "", (), ""),
        (EPUB, 3, "The storm", ("The calm", "The storm", "At night"), "The storm › At night"),
        (EPUB, 3, "Section 3", ("The calm",), "Section 3"),
        (EML, 1, "", ("Handbook",), ""),
        (EML, 2, "offer.pdf, page 2", ("Handbook",), "offer.pdf, page 2"),
        ("application/x-unknown", 1, "", (), ""),
    ],
)
def test_a_place_is_said_in_the_words_of_its_format(
    media_type: str, page: int, label: str, headings: tuple[str, ...], place: str
) -> None:
    said = place_of(media_type=media_type, page=page, label=label, headings=headings, title="Handbook")
    assert said == place


@pytest.mark.parametrize(
    ("media_type", "label", "headings", "within", "place"),
    [
        (CSV, "", (), "rows 12–30", "Rows 12–30"),
        (XLSX, "Sheet Prices", ("Prices",), "rows 12–30", "Sheet Prices, rows 12–30"),
        (EML, "prices.csv", ("Offer",), "row 7", "prices.csv, row 7"),
        ("application/json", "", (), "at servers[3]", "At servers[3]"),
    ],
)
def test_rows_and_items_follow_the_page(
    media_type: str, label: str, headings: tuple[str, ...], within: str, place: str
) -> None:
    assert place_of(media_type=media_type, page=1, label=label, headings=headings, within=within) == place


@pytest.mark.django_db
def test_a_passage_of_counted_rows_is_not_widened_beyond_them(acme: Organization, library: Library) -> None:
    with tenant_scope(acme):
        version = Document.objects.get(id=library.warranty).published_id
        Chunk.objects.filter(version=version).update(place="rows 2–9")
    found = hit(acme, "warranty of the motor")
    assert found.place == "Rows 2–9"
    (source, *_) = choose_sources([found])
    page = f"{source.text} And a sentence behind it."
    pages = {(source.version_id, source.page): "x" * source.start + page}
    assert widen([source], pages, budget=1000, count=len) == [source]
    assert widen([replace(source, counted=False)], pages, budget=1000, count=len) != [source]


def test_only_formats_whose_pages_are_numbered_for_their_readers_are_paged() -> None:
    assert [is_paged(each) for each in (PDF, PPTX, XLSX)] == [True] * 3
    assert [is_paged(each) for each in (DOCX, EPUB, EML, CSV, "text/markdown", "")] == [False] * 6


def test_of_a_long_path_the_nearest_headings_stay() -> None:
    path = [f"{n} {'x' * 200}" for n in range(5)] + ["Here"]
    said = place_of(media_type=DOCX, page=1, label="", headings=path)
    assert len(said) <= LONGEST_PLACE + 5
    assert said.startswith("… › ")
    assert said.endswith("› Here")


def under(organization: Organization, document_id: Any, headings: list[str], label: str = "") -> None:
    with tenant_scope(organization):
        version = Document.objects.get(id=document_id).published_id
        Chunk.objects.filter(version=version).update(headings=headings)
        Page.objects.filter(version=version).update(label=label)


def hit(organization: Organization, words: str) -> Hit:
    with tenant_scope(organization):
        collections = list(Document.objects.values_list("collection_id", flat=True))
    return retrieve(organization=organization, collection_ids=collections, query=words).hits[0]


@pytest.mark.django_db
def test_hits_sources_and_citations_carry_the_place(acme: Organization, library: Library) -> None:
    under(acme, library.warranty, ["Warranty", "Motor"])
    found = hit(acme, "warranty of the motor")
    assert (found.place, found.is_paged) == ("Motor", False)
    (source, *_) = choose_sources([found])
    assert (source.place, source.is_paged) == ("Motor", False)
    streamed = data_of(SourcesFound((source,)))["sources"][0]
    assert (streamed["place"], streamed["is_paged"], streamed["page"]) == ("Motor", False, 1)
    citation = Citation(
        1, source.document_id, source.version_id, source.chunk_id, source.title, 1, 0, 3, "The",
        source.place, source.is_paged,
    )  # fmt: skip
    assert citation.as_json()["place"] == "Motor"


@pytest.mark.django_db
def test_the_label_is_the_one_of_the_page(acme: Organization, library: Library) -> None:
    under(acme, library.tariff, [], label="page 2 (ii)")
    assert hit(acme, "monthly tariff in euros").place == "page 2 (ii)"


@pytest.mark.django_db
def test_the_search_page_and_the_api_say_the_place(api: Api, acme: Organization, library: Library) -> None:
    under(acme, library.warranty, ["Warranty", "Motor"])
    rows = search_page(acme, QueryDict("q=warranty of the motor"))["results"]
    assert {row.title: row.place for row in rows}["Warranty"] == "Motor"
    (first, *_) = post(api(acme), {"query": "warranty of the motor"}).json()["results"]
    assert (first["page"], first["is_paged"], first["place"]) == (1, False, "Motor")


@pytest.mark.django_db
def test_the_model_is_not_told_of_pages_that_nobody_sees(acme: Organization, library: Library) -> None:
    sources = choose_sources([hit(acme, "warranty of the motor")])
    said = prompting.build_messages("?", [s for s in sources if s.title == "Warranty"], ())[1].content
    assert "Passage [0], Warranty:\n" in said


@pytest.mark.django_db
def test_a_turn_that_was_kept_before_places_shows_no_page_of_its_own_making(acme: Organization) -> None:
    asker = Asker(organization=acme, user_id=None, api_key_id=7)
    turn = create_turn(asker, question="?", filters={})
    old = {"n": 1, "document_id": "d", "version_id": "v", "chunk_id": "c", "title": "T", "start": 0, "end": 1}
    kept = [{**old, "page": 1, "quote": "a"}, {**old, "n": 2, "page": 3, "quote": "b"}]
    with tenant_scope(acme):
        Turn.objects.filter(id=turn.id).update(citations=kept, status="answered", answer="a [1] b [2]")
    found = get_turn(asker, turn.id)
    assert [each["place"] for each in found.citations] == ["", "page 3"]


def test_a_citation_mark_says_where_it_leads() -> None:
    html = render("It is so [1].", {1: "/o/acme/"}, {1: 'Hand<book> "A", page 7'})
    assert 'title="Hand&lt;book&gt; &quot;A&quot;, page 7"' in html
