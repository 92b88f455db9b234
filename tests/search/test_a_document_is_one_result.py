"""The passages of a document stand under one title, the best one first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from uuid import uuid4

import pytest
from django.test import Client

from search.documents import documents_of
from tenants.models import Organization
from tests.search.conftest import Library
from tests.search.doubles import WordEmbedder
from tests.search.library import add_document
from tests.search.test_api_search_finds_passages import post
from tests.search.test_what_says_the_same_takes_one_place import hit

PASSAGE = ("page", "is_paged", "place", "text", "score", "start", "end")


def test_a_document_stands_where_its_best_passage_stood() -> None:
    one, two = uuid4(), uuid4()
    a, b, c, d, e = (
        hit(text, document_id=of) for text, of in zip("abcde", (one, two, one, one, one), strict=True)
    )
    assert documents_of([a, b, c, d, e]) == [replace(a, more=(c, d)), b]
    assert documents_of([]) == []


@pytest.fixture
def tariffs(acme: Organization, library: Library) -> Library:
    rules = [f"The tariff of zone {n} is {n} euros." for n in ("two", "five", "nine", "ten")]
    add_document(acme, "Zones", *rules, embedder=WordEmbedder())
    return library


@pytest.mark.django_db
def test_the_page_shows_one_card_for_each_document(alice_client: Client, tariffs: Library) -> None:
    response = alice_client.get("/o/acme/", {"q": "tariff of a zone in euros"})
    rows = {row.title: row for row in response.context["results"]}
    assert len(rows) == len(response.context["results"])
    assert len(rows["Zones"].more) == 2
    page = response.content.decode()
    assert page.count("2 more from this document") == sum(len(row.more) == 2 for row in rows.values())
    first = rows["Zones"].more[0]
    assert first.url != rows["Zones"].url
    assert first.url.replace("&", "&amp;") in page
    assert {piece.text for piece in first.snippet if piece.marked} == {"tariff", "zone", "euros"}
    assert alice_client.get(first.url).status_code == 200


@pytest.mark.django_db
def test_the_api_groups_where_it_is_asked_to(
    api: Callable[..., Client], acme: Organization, tariffs: Library
) -> None:
    asked = {"query": "tariff of a zone in euros", "limit": 2}
    plain = post(api(acme), asked).json()["results"]
    assert [(result["document"]["title"], result["more"]) for result in plain] == [("Zones", [])] * 2
    grouped = post(api(acme), {**asked, "group_by": "document"}).json()["results"]
    assert [result["document"]["title"] for result in grouped] == ["Zones", "Tariff"]
    more = grouped[0]["more"]
    assert [set(passage) for passage in more] == [set(PASSAGE)] * 2
    assert more[0]["score"] == plain[1]["score"], "the next best of the document"
    assert len({grouped[0]["text"], *(passage["text"] for passage in more)}) == 3
    assert post(api(acme), {**asked, "group_by": "author"}).status_code == 400
