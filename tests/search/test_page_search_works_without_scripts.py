"""The search page: its state is its address, and a browser without scripts gets the whole answer."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from uuid import UUID

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils.html import escape

from inference import runtime
from search.conversations import Asker, create_turn
from search.corpus import index_version
from search.models import DocumentVersion
from tenants.models import Organization
from tenants.scope import tenant_scope
from tests.search.conftest import Library
from tests.search.corpus_rows import document
from tests.search.doubles import ScriptedGenerator

pytestmark = pytest.mark.django_db(transaction=True)
HOME = "/o/acme/"
QUESTION = "What is the monthly tariff in euros?"
JSON = {"accept": "application/json"}


def test_results_show_place_type_and_marked_words(alice_client: Client, library: Library) -> None:
    response = alice_client.get(HOME, {"q": "monthly tariff in euros"})
    assert response.status_code == 200
    first = response.context["results"][0]
    assert (first.title, first.place, first.type_label, first.collection) == (
        "Tariff",
        "page 2",
        "PDF",
        "General",
    )
    assert first.url.startswith(f"/o/acme/documents/{library.tariff}/?page=2&start=0&end=")
    assert {piece.text for piece in first.snippet if piece.marked} == {"monthly", "tariff", "euros"}
    assert first.title in response.content.decode()


def test_facets_filter_by_the_address(alice_client: Client, library: Library) -> None:
    asked = {"q": "What do the tariff and the warranty cover in euros?"}

    def titles(**more: Any) -> set[str]:
        return {row.title for row in alice_client.get(HOME, asked | more).context["results"]}

    assert titles() == {"Tariff", "Warranty"}
    assert titles(type="text/plain") == {"Warranty"}
    assert titles(year="2024") == {"Tariff"}
    assert titles(year=["2021", "2024"]) == {"Tariff"}, "a year in between was not chosen"
    assert titles(year="2022", to="2025-01-01") == {"Warranty"}
    assert titles(to="2023-01-01") == {"Warranty"}
    facets = {facet.name: facet for facet in alice_client.get(HOME, asked).context["facets"]}
    assert {option.label for option in facets["type"].options} == {"PDF", "Text"}
    assert {option.label for option in facets["collection"].options} == {"General", "Service"}
    chosen = alice_client.get(HOME, asked | {"type": "text/csv"}).context["facets"]
    assert [(o.label, o.count, o.selected) for f in chosen for o in f.options] == [("CSV", 0, True)]


def test_dates_of_the_address_outlive_a_choice_of_facets(alice_client: Client, library: Library) -> None:
    page = alice_client.get(HOME, {"q": "tariff", "from": "2020-01-01"}).content.decode()
    facets = page.partition('aria-label="Filters"')[2].partition("</form>")[0]
    assert '<input type="hidden" name="from" value="2020-01-01">' in facets


@pytest.mark.parametrize(
    "more",
    [
        {"from": "soon"},
        {"collection": "1"},
        {"year": "x"},
        {"q": "a\x00b"},
        {"page": "-1"},
        {"type": "a\x00b"},
    ],
)
def test_a_strange_address_is_a_page(alice_client: Client, library: Library, more: dict[str, str]) -> None:
    assert alice_client.get(HOME, {"q": "tariff"} | more).status_code == 200


def test_the_page_is_there_before_the_models_are(alice_client: Client, library: Library) -> None:
    runtime.uninstall()
    response = alice_client.get(HOME, {"q": "tariff"})
    assert response.status_code == 200
    assert response.context["results"] == []
    assert "data-problem" in response.content.decode()


def test_without_scripts_asking_leads_to_the_complete_answer(
    alice_client: Client, library: Library, generator: ScriptedGenerator
) -> None:
    generator.reply = "The monthly tariff is 20 euros."
    response = alice_client.post(HOME + "ask", {"question": QUESTION, "type": "application/pdf"}, follow=True)
    ((address, status),) = response.redirect_chain
    assert status == 302
    assert "type=application%2Fpdf" in address
    turn = response.context["turn"]
    assert turn.status == "answered"
    assert f'href="{turn.citations[0].url.replace("&", "&amp;")}"' in turn.html
    assert turn.html in response.content.decode()


@pytest.mark.parametrize("sent", [{"question": " "}, {"question": QUESTION, "from": "soon"}])
def test_without_scripts_a_refusal_is_said(alice_client: Client, models: Any, sent: dict[str, str]) -> None:
    page = alice_client.post(HOME + "ask", sent, follow=True).content.decode()
    said = "A question has 1 to 4000 characters." if not sent["question"].strip() else "is a day such as"
    assert '<p class="notice error">' in page
    assert said in page.partition('<p class="notice error">')[2].partition("</p>")[0]


def test_a_busy_engine_is_said_without_scripts(
    alice_client: Client, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    from inference.errors import Overloaded

    def refuse(*args: Any, **more: Any) -> None:
        raise Overloaded("Too many questions are being answered.")

    monkeypatch.setattr("search.asking.ask", refuse)
    page = alice_client.post(HOME + "ask", {"question": QUESTION}, follow=True).content.decode()
    assert "Too many questions are being answered." in page


def test_a_filter_that_is_not_understood_is_said_on_the_page(alice_client: Client, library: Library) -> None:
    page = alice_client.get(HOME, {"q": "tariff", "from": "soon"}).content.decode()
    assert "dated_from is a day such as 2024-05-31." in page


def test_an_index_that_does_not_answer_is_said_without_its_address(
    alice_client: Client, api: Any, acme: Organization, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    from search.index import IndexFailure

    def fail(organization: Organization) -> None:
        raise IndexFailure("The Qdrant server at http://10.0.0.7 failed.", hint="Check TESSERA_QDRANT_URL.")

    monkeypatch.setattr("search.retrieval.open_index", fail)
    page = alice_client.get(HOME, {"q": "tariff"})
    answer = api(acme).post("/api/v1/search", {"query": "tariff"}, content_type="application/json")
    assert (page.status_code, answer.status_code) == (200, 503)
    assert answer.headers["Retry-After"]
    assert answer.json()["error"]["code"] == "index_failed"
    for content in (page.content, answer.content):
        assert b"The search index does not answer." in content
        assert b"10.0.0.7" not in content
        assert b"TESSERA" not in content


def test_a_follow_up_keeps_the_filters(
    alice_client: Client, library: Library, generator: ScriptedGenerator
) -> None:
    generator.reply = "The monthly tariff is 20 euros."
    sent = {"question": QUESTION, "type": "application/pdf"}
    page = alice_client.post(HOME + "ask", sent, follow=True).content.decode()
    followup = page.partition("data-followup")[2].partition("</form>")[0]
    assert '<input type="hidden" name="type" value="application/pdf">' in followup


def test_all_conversations_can_be_paged_through(
    alice_client: Client, acme: Organization, alice: User
) -> None:
    asker = Asker(acme, user_id=alice.pk)
    for n in range(205):
        create_turn(asker, question=f"Question {n:03}?", filters={})
    seen: list[str] = []
    address = f"{HOME}conversations/"
    for _ in range(3):
        response = alice_client.get(address)
        seen += [each.title for each in response.context["conversations"]]
        older = response.context["older"]
        assert (f'href="?before={older}"' in response.content.decode()) == (older is not None)
        address = f"{HOME}conversations/?before={older}"
    assert seen == [f"Question {n:03}?" for n in reversed(range(205))]
    assert older is None
    theirs = create_turn(Asker(acme, api_key_id=1), question="Theirs?", filters={}).conversation_id
    assert alice_client.get(f"{HOME}conversations/?before={theirs}").status_code == 404


def test_scripts_get_addresses_and_a_stream(
    alice_client: Client, library: Library, generator: ScriptedGenerator
) -> None:
    generator.reply = "The monthly tariff is 20 euros."
    response = alice_client.post(HOME + "ask", {"question": QUESTION}, headers=JSON)
    assert response.status_code == 201
    body = response.json()
    assert set(body) == {"turn_id", "conversation_id", "events_url", "stop_url", "regenerate_url", "url"}
    done = events(alice_client.get(body["events_url"]))[-1]
    assert done["status"] == "answered"
    again = alice_client.post(body["regenerate_url"], headers=JSON).json()
    assert again["turn_id"] == body["turn_id"]
    assert events(alice_client.get(again["events_url"]))[-1] == done
    assert [params.temperature for params in generator.params] == [0.0, 0.7]


def test_a_fragment_and_a_conversation_show_the_answer(
    alice_client: Client, library: Library, generator: ScriptedGenerator
) -> None:
    generator.reply = "The monthly tariff is 20 euros <b>bold</b>."
    turn = alice_client.post(HOME + "ask", {"question": QUESTION}, follow=True).context["turn"]
    for address in (f"{HOME}turns/{turn.id}", f"{HOME}conversations/{turn.conversation_id}/"):
        page = alice_client.get(address).content.decode()
        assert turn.html in page
        assert "<b>bold" not in page
    assert QUESTION in alice_client.get(f"{HOME}conversations/").content.decode()
    alice_client.post(f"{HOME}conversations/{turn.conversation_id}/delete")
    assert alice_client.get(f"{HOME}turns/{turn.id}").status_code == 404


@pytest.mark.parametrize("question", ["", "  ", "x" * 4001])
def test_what_is_no_question_is_refused(alice_client: Client, models: Any, question: str) -> None:
    response = alice_client.post(HOME + "ask", {"question": question}, headers=JSON)
    assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid")


def test_a_filter_that_no_database_keeps_is_refused(alice_client: Client, models: Any) -> None:
    response = alice_client.post(HOME + "ask", {"question": QUESTION, "type": "a\x00b"}, headers=JSON)
    assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid_filter")


def test_a_colleague_does_not_see_an_answer(
    acme: Organization, alice: User, bob_client: Client, charlie_client: Client
) -> None:
    turn = create_turn(Asker(acme, user_id=alice.pk), question="Secret?", filters={})
    for client in (bob_client, charlie_client):
        page = client.get(HOME, {"q": "tariff", "turn": str(turn.id)})
        assert page.status_code == (200 if client is bob_client else 404)
        assert b"Secret?" not in page.content
        assert str(turn.conversation_id).encode() not in page.content
        for address, post in addresses(turn.id, turn.conversation_id):
            response = client.post(address) if post else client.get(address)
            assert response.status_code == 404, address
        found = client.get(f"{HOME}conversations/")
        assert b"Secret?" not in found.content


def addresses(turn_id: UUID, conversation_id: UUID) -> list[tuple[str, bool]]:
    turn, conversation = f"{HOME}turns/{turn_id}", f"{HOME}conversations/{conversation_id}/"
    return [
        (turn, False),
        (f"{turn}/events", False),
        (f"{turn}/stop", True),
        (f"{turn}/regenerate", True),
        (conversation, False),
        (f"{conversation}delete", True),
    ]


def events(response: Any) -> list[dict[str, Any]]:
    async def read() -> bytes:
        return b"".join([part async for part in response.streaming_content])

    lines = asyncio.run(read()).decode().split("\n")
    return [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]


def test_author_and_language_are_filters_to_choose_from(
    acme: Organization, alice_client: Client, library: Library
) -> None:
    with tenant_scope(acme):
        versions = DocumentVersion.objects.filter(document_id=library.tariff)
        versions.update(author="Ada Lovelace", language="en")
        version = versions.get()
    index_version(acme, version.id)
    all_of_them = alice_client.get(HOME, {"q": "tariff"}).context
    facets = {facet.name: facet for facet in all_of_them["facets"]}
    assert [(o.value, o.label) for o in facets["language"].options] == [("en", "English")]
    (author, *_) = facets["author"].options
    mine = alice_client.get(HOME, {"q": "tariff", "author": author.value, "language": "en"})
    assert mine.context["results"]
    assert f'name="author" value="{author.value}" checked' in mine.content.decode()
    none = alice_client.get(HOME, {"q": "tariff", "language": "fr"})
    assert none.context["results"] == []
    assert 'value="fr" checked>French' in none.content.decode()


def test_a_result_names_the_other_documents_that_say_the_same(
    acme: Organization, alice_client: Client, models: Any
) -> None:
    for title in ("Lease", "Lease <copy>"):
        document(acme, title, ["The rent is due on the first day of the month."])
    response = alice_client.get(HOME, {"q": "rent due"})
    (result,) = response.context["results"]
    (other,) = {"Lease", "Lease <copy>"} - {result.title}
    assert [title for title, _ in result.copies] == [other]
    said = response.content.decode().partition("Also in: ")[2].partition("</p>")[0]
    assert f">{escape(other)}</a>" in said
    assert alice_client.get(result.copies[0][1]).status_code == 200
