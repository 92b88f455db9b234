"""A misspelt word is searched for as readable passages have it, and as no other passage has it (T02)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

import pytest
from django.test import Client

from search import spelling
from search.models import Document
from search.retrieval import Retrieval, SearchFilters, readable_collections, retrieve
from tenants.models import Organization
from tenants.scope import tenant_scope
from tests.search.corpus_rows import EMBEDDER, add_version, collection, document
from tests.search.doubles import ScriptedGenerator
from tests.search.test_api_answers_are_cited import events
from tests.search.test_api_answers_are_cited import post as ask_api
from tests.search.test_api_search_finds_passages import post

PASSAGES = ["The impeller turns.", "An impeller of bronze, cancellation by letter.", "The tariff rose."]


def corrected(query: str, passages: Sequence[str] = PASSAGES, known: Sequence[str] = ()) -> str:
    return spelling.corrected(query, passages, lambda word: word in known)


@pytest.mark.parametrize(
    ("asked", "meant"),
    [
        ("How fast is the impelle?", "How fast is the impeller?"),
        ("How fast is the Imepller?", "How fast is the Impeller?"),
        ("IMPELLLER", "IMPELLER"),
        ("cancelatoin by letter", "cancellation by letter"),
        ("tarif and bronce", "tariff and bronze"),
    ],
    ids=["a letter lost", "two swapped", "one more", "two edits of a long word", "two words"],
)
def test_a_near_word_takes_the_place_of_one_that_stands_nowhere(asked: str, meant: str) -> None:
    assert corrected(asked) == meant


@pytest.mark.parametrize(
    "asked",
    ["impeller", "impellers", "tarrfi", "tar", "tariff2", "QX-7741", "turns having", ""],
    ids=["right", "another form", "two edits of a short word", "short", "a digit", "a code", "stop word", "nothing"],
)  # fmt: skip
def test_what_is_right_short_far_or_a_code_stays(asked: str) -> None:
    assert corrected(asked, [*PASSAGES, "They were saving QX-7742."]) == ""


def test_a_word_that_stands_in_a_passage_that_was_not_found_stays() -> None:
    assert corrected("value", ["The valve turns."], known=["value"]) == ""
    assert corrected("value", ["The valve turns."]) == "valve"


def test_the_same_first_letter_is_nearer_and_a_tie_corrects_nothing() -> None:
    assert corrected("mouter", ["router router", "mouser", "the router"]) == "mouser"
    assert corrected("moter", ["motor", "meter"]) == ""
    assert corrected("moter", ["motor", "a motor", "meter"]) == "motor"


@pytest.mark.parametrize(
    ("a", "b", "edits"),
    [("abc", "abc", 0), ("abc", "acb", 1), ("abcd", "abd", 1), ("abcd", "abxcd", 1), ("abcd", "badc", 2)],
)
def test_edits_are_counted_and_the_count_ends_early(a: str, b: str, edits: int) -> None:
    assert spelling.distance(a, b, 2) == spelling.distance(b, a, 2) == edits
    assert spelling.distance(a, b + "xyz", 2) > 2
    assert edits == 0 or spelling.distance(a, b, edits - 1) > edits - 1


def ask(
    organization: Organization, query: str, readable: Sequence[UUID] | None = None, **more: Any
) -> Retrieval:
    ids = readable_collections(organization) if readable is None else readable
    return retrieve(
        organization=organization, collection_ids=ids, query=query, embedder=EMBEDDER, limit=3, **more
    )


def fill(organization: Organization) -> Document:
    """The wanted document, which an embedder that knows no part of a word cannot tell from the other ones."""
    for n in range(30):
        document(organization, f"Letter {n}", [f"Monday soup, number {n}."])
    return document(organization, "Pump", ["The impeller turns at 1450 rpm."])


@pytest.mark.django_db
def test_the_corrected_question_finds_what_the_misspelt_one_does_not(acme: Organization) -> None:
    wanted = fill(acme)
    found = ask(acme, "Impelller")
    assert found.corrected == "Impeller"
    assert found.hits[0].document_id == wanted.id
    typed = ask(acme, "Impelller", as_typed=True)
    assert typed.corrected == ""
    assert typed.best_similarity < 0.3 < found.best_similarity
    assert ask(acme, "Impeller").corrected == ""


@pytest.mark.django_db
def test_no_word_is_learnt_of_what_may_not_be_read(acme: Organization, globex: Organization) -> None:
    document(acme, "Menu", ["Monday soup, Tuesday fish."])
    document(acme, "Board", ["The impeller is sold."], collection_name="Board")
    document(globex, "Theirs", ["The impeller is theirs."])
    old = document(acme, "Old", ["The impeller was iron."])
    add_version(acme, old, ["It was iron."])
    document(acme, "Draft", ["The impeller may be steel."], publish=False)
    assert ask(acme, "impelller", readable=[collection(acme).id]).corrected == ""
    assert ask(acme, "impelller").corrected == "impeller"


@pytest.mark.django_db
def test_only_readable_passages_tell_that_a_word_is_right(acme: Organization, globex: Organization) -> None:
    document(acme, "Pump", ["The valve turns."])
    document(globex, "Theirs", ["Some value hope."])
    board = document(acme, "Board", ["Some value hope."], collection_name="Board")
    general = [collection(acme).id]
    assert ask(acme, "value turns", readable=general).corrected == "valve turns"
    narrowed = ask(acme, "value turns", filters=SearchFilters(collection_ids=tuple(general)))
    assert narrowed.corrected == "", "the word stands in another collection, which may be read"
    with tenant_scope(acme):
        Document.objects.filter(id=board.id).update(published=None)
    assert ask(acme, "value turns").corrected == "valve turns", "it is hidden though the index has it"


@pytest.mark.django_db
def test_page_and_api_say_so_and_search_as_typed(
    api: Callable[..., Client], acme: Organization, alice_client: Client, library: Any
) -> None:
    body = post(api(acme), {"query": "warrranty of the motor"}).json()
    assert body["corrected"] == "warranty of the motor"
    body = post(api(acme), {"query": "warrranty of the motor", "as_typed": True}).json()
    assert body["corrected"] is None
    response = alice_client.get("/o/acme/", {"q": "warrranty <b> of the motor", "type": "text/plain"})
    page = response.content.decode()
    assert "Searched also for: <strong>warranty &lt;b&gt; of the motor</strong>" in page
    assert {p.text for p in response.context["results"][0].snippet if p.marked} == {"warranty", "motor"}
    only = alice_client.get("/o/acme/" + response.context["as_typed_address"])
    assert only.context["q"] == "warrranty <b> of the motor"
    assert only.context["filters"]["type"] == ["text/plain"]
    assert "Searched also" not in only.content.decode()
    facets = only.content.decode().partition('aria-label="Filters"')[2].partition("</form>")[0]
    assert '<input type="hidden" name="as_typed" value="1">' in facets


@pytest.mark.django_db(transaction=True)
def test_an_answer_tells_what_was_searched_for(
    api: Callable[..., Client], acme: Organization, library: Any, generator: ScriptedGenerator
) -> None:
    generator.reply = "The warranty covers the motor for five years."
    asked = {"question": "What does the warrranty of the motor cover?", "stream": True}
    streamed = events(ask_api(api(acme), asked))
    assert [name for _, name, _ in streamed][:3] == ["run.created", "query.rewritten", "sources"]
    assert streamed[1][2] == {"query": "What does the warranty of the motor cover?"}
    assert streamed[-1][2]["status"] == "answered"
