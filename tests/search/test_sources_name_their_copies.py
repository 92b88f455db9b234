"""An answer's sources name the other documents that say the same, until one of these is removed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from django.db import transaction
from django.test import Client

from search import conversations, corpus
from search.models import Turn
from search.passages import choose_sources
from tenants.models import Organization
from tenants.scope import tenant_scope
from tests.search.doubles import ScriptedGenerator, WordEmbedder
from tests.search.library import add_document
from tests.search.residue import residue
from tests.search.test_api_answers_are_cited import events, post
from tests.search.test_what_says_the_same_takes_one_place import LEASE, hit

RENT = "The rent is 900 euros and due on the first day of the month."
QUESTION = "When is the rent of 900 euros due?"


@pytest.fixture
def leases(
    acme: Organization, clean_index: None, models: Any, generator: ScriptedGenerator
) -> dict[str, UUID]:
    generator.reply = RENT
    return {
        title: add_document(acme, title, RENT, embedder=WordEmbedder()) for title in ("Lease", "Lease copy")
    }


def names(places: list[dict[str, Any]]) -> list[list[str]]:
    return [[place["title"], *(copy["title"] for copy in place["also_in"])] for place in places]


def test_copies_of_merged_passages_are_named_once_each() -> None:
    first, other, third = hit(LEASE), hit(LEASE), hit(LEASE)
    mine = hit(LEASE)
    one = replace(mine, copies=(first, other))
    touching = replace(mine, copies=(other, third))
    (source,) = choose_sources([one, touching])
    assert {copy.document_id for copy in source.also_in} == {h.document_id for h in (first, other, third)}
    assert len(source.also_in) == 3


@pytest.mark.django_db(transaction=True)
def test_api_stream_and_page_name_the_other_document(
    api: Callable[..., Client], acme: Organization, alice_client: Client, leases: dict[str, UUID]
) -> None:
    client = api(acme)
    body = post(client, {"question": QUESTION}).json()
    (citation,) = body["citations"]
    assert sorted(names([citation])[0]) == ["Lease", "Lease copy"]
    (copy,) = citation["also_in"]
    assert copy["document_id"] == str(leases[copy["title"]])
    assert (copy["page"], copy["place"], copy["start"], copy["end"]) == (1, "page 1", 0, len(RENT))
    told = {name: data for _, name, data in events(post(client, {"question": QUESTION, "stream": True}))}
    assert (
        names(told["sources"]["sources"]) == names(told["answer.completed"]["citations"]) == names([citation])
    )
    response = alice_client.post("/o/acme/ask", {"question": QUESTION}, follow=True)
    ((title, url),) = response.context["turn"].citations[0].copies
    answer = response.content.decode().partition("data-sources")[2].partition("</ol>")[0]
    assert f'Also in: <a href="{url.replace("&", "&amp;")}">{title}</a>' in answer
    assert alice_client.get(url).status_code == 200


@pytest.mark.django_db(transaction=True)
def test_a_removed_document_is_named_no_more(
    api: Callable[..., Client], acme: Organization, leases: dict[str, UUID]
) -> None:
    body = post(api(acme), {"question": QUESTION}).json()
    ((copy,),) = ([copy["title"] for copy in c["also_in"]] for c in body["citations"])
    corpus.remove_document(acme, leases[copy])
    assert set(residue(acme, leases[copy]).values()) == {0}
    with tenant_scope(acme):
        turn = Turn.objects.get()
    assert names(turn.citations) == names(turn.sources) == [[next(t for t in leases if t != copy)]]


@pytest.mark.django_db(transaction=True)
def test_a_document_removed_meanwhile_is_not_named(acme: Organization, leases: dict[str, UUID]) -> None:
    there, gone = leases["Lease"], leases["Lease copy"]
    corpus.remove_document(acme, gone)
    values = {"citations": [{"document_id": str(there), "also_in": [{"document_id": str(gone)}]}]}
    with tenant_scope(acme), transaction.atomic():
        conversations.leave_out_removed(values, ("citations", "sources"))
    assert values == {"citations": [{"document_id": str(there), "also_in": []}]}
