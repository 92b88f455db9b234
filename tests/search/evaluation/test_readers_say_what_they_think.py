"""Only who asked may say what an answer is worth, with or without scripts and over the API; administrators see it and make
questions of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from django.contrib.auth.models import User
from django.test import Client

from search.conversations import Asker, create_turn, delete_conversation, keep_answer
from search.corpus import remove_document
from search.evaluation.models import EvaluationQuestion, Feedback
from search.events import AnswerCompleted, UsageCounted
from search.models import Turn
from tenants.models import Organization
from tenants.scope import tenant_scope
from tests.search.doubles import WordEmbedder
from tests.search.library import add_document
from tests.search.residue import residue

pytestmark = pytest.mark.django_db


@pytest.fixture
def document(acme: Organization) -> UUID:
    return add_document(acme, "Tariff", "The monthly tariff is 20 euros.", embedder=WordEmbedder())


@pytest.fixture
def turn(acme: Organization, bob: User, document: UUID) -> UUID:
    """Bob's answered question, with a citation of the tariff."""
    asked = create_turn(Asker(acme, bob.pk), question="What is the tariff?", filters={})
    usage = UsageCounted(1, 1)
    keep_answer(acme, asked, AnswerCompleted("answered", "20 euros [1].", (), usage, "scripted"), None)
    place = {
        "n": 1,
        "document_id": str(document),
        "title": "Tariff",
        "page": 1,
        "start": 0,
        "end": 5,
        "quote": "The m",
    }
    with tenant_scope(acme):
        Turn.objects.filter(id=asked.id).update(citations=[place])
    return asked.id


def given(organization: Organization) -> list[Feedback]:
    with tenant_scope(organization):
        return list(Feedback.objects.all())


def say(client: Client, turn: UUID, **fields: Any) -> Any:
    return client.post(f"/o/acme/turns/{turn}/feedback", fields)


def test_it_is_kept_with_the_answer_as_it_was(acme: Organization, turn: UUID, bob_client: Client) -> None:
    response = say(
        bob_client, turn, helpful="no", reason=["wrong", "outdated", "invented"], comment=" Since May. "
    )
    assert response.status_code == 302
    (row,) = given(acme)
    assert (row.turn_id, row.helpful, row.reasons, row.comment) == (
        turn,
        False,
        ["wrong", "outdated"],
        "Since May.",
    )
    assert (row.question, row.answer, row.status) == ("What is the tariff?", "20 euros [1].", "answered")
    assert row.citations[0]["title"] == "Tariff"
    assert row.configuration["model"] == "scripted"
    assert "min_similarity" in row.configuration["settings"]


def test_the_page_offers_it_without_scripts_and_shows_what_was_said(turn: UUID, bob_client: Client) -> None:
    page = bob_client.get(f"/o/acme/turns/{turn}").content.decode()
    assert f'action="/o/acme/turns/{turn}/feedback"' in page
    assert "You said" not in page
    answer = bob_client.post(f"/o/acme/turns/{turn}/feedback", {"helpful": "yes"}, follow=True)
    assert "Thank you. Your administrators see it." in answer.content.decode()
    assert "You said that it was helpful." in answer.content.decode()


def test_scripts_get_json(turn: UUID, bob_client: Client) -> None:
    response = bob_client.post(
        f"/o/acme/turns/{turn}/feedback", {"helpful": "no"}, headers={"accept": "application/json"}
    )
    assert response.status_code == 201
    assert response.json() == {"turn_id": str(turn), "helpful": False}


def test_saying_it_again_replaces_it_and_is_looked_at_again(
    acme: Organization, turn: UUID, bob_client: Client, alice_client: Client
) -> None:
    say(bob_client, turn, helpful="no", reason="wrong")
    alice_client.post(f"/o/acme/feedback/{given(acme)[0].id}/handle")
    assert given(acme)[0].handled_at is not None
    say(bob_client, turn, helpful="yes", reason="wrong")
    (row,) = given(acme)
    assert (row.helpful, row.reasons, row.handled_at) == (True, [], None)


def test_nobody_else_may_say_it_not_even_the_owner(
    acme: Organization, turn: UUID, alice_client: Client, charlie_client: Client, api: Callable[..., Client]
) -> None:
    assert say(alice_client, turn, helpful="yes").status_code == 404
    assert say(charlie_client, turn, helpful="yes").status_code == 404
    path = f"/api/v1/answers/{turn}/feedback"
    key = api(acme, "read", "write")
    assert key.post(path, {"helpful": True}, content_type="application/json").status_code == 404
    assert given(acme) == []


def test_the_api_takes_it_from_the_key_that_asked(
    acme: Organization, bob: User, api: Callable[..., Client]
) -> None:
    key = api(acme, "read")
    from tenants.models import ApiKey

    asker = Asker(acme, api_key_id=ApiKey.objects.get(organization=acme).pk)
    asked = create_turn(asker, question="What?", filters={})
    path = f"/api/v1/answers/{asked.id}/feedback"
    body: dict[str, Any] = {"helpful": False, "reasons": ["not_found"], "comment": "It is in the handbook."}
    assert key.post(path, body, content_type="application/json").status_code == 400, "there is no answer yet"
    keep_answer(acme, asked, AnswerCompleted("not_found", "No.", (), UsageCounted(0, 0)), None)
    response = key.post(path, body, content_type="application/json")
    assert response.status_code == 201
    said = response.json()
    assert {name: said[name] for name in body} == body
    assert (
        key.post(
            path, {"helpful": False, "reasons": ["nonsense"]}, content_type="application/json"
        ).status_code
        == 400
    )


def test_the_inbox_is_for_administrators(
    acme: Organization, turn: UUID, bob_client: Client, alice_client: Client
) -> None:
    say(bob_client, turn, helpful="no", reason="wrong", comment="<b>Since May</b>")
    assert bob_client.get("/o/acme/feedback/").status_code == 403
    page = alice_client.get("/o/acme/feedback/").content.decode()
    assert "&lt;b&gt;Since May&lt;/b&gt;" in page
    assert "It is wrong" in page
    (row,) = given(acme)
    alice_client.post(f"/o/acme/feedback/{row.id}/handle")
    assert "Since May" not in alice_client.get("/o/acme/feedback/").content.decode()
    assert "Since May" in alice_client.get("/o/acme/feedback/?handled").content.decode()
    alice_client.post(f"/o/acme/feedback/{row.id}/handle", {"again": "1"})
    assert "Since May" in alice_client.get("/o/acme/feedback/").content.decode()


def test_one_click_makes_a_question_of_it_once(
    acme: Organization, turn: UUID, document: UUID, bob_client: Client, alice_client: Client
) -> None:
    say(bob_client, turn, helpful="yes")
    (row,) = given(acme)
    first = alice_client.post(f"/o/acme/feedback/{row.id}/question")
    again = alice_client.post(f"/o/acme/feedback/{row.id}/question")
    assert first["Location"] == again["Location"]
    with tenant_scope(acme):
        question = EvaluationQuestion.objects.get()
    assert (question.question, question.answerable, question.documents) == (
        "What is the tariff?",
        True,
        [str(document)],
    )
    assert given(acme)[0].handled_at is not None
    form = {"question": "What is the tariff?", "answerable": "yes", "answers": "20 euros\r\ntwenty euros", "documents": "Tariff", "pages": "1"}  # fmt: skip
    assert "What is the tariff?" in alice_client.get(first["Location"]).content.decode()
    alice_client.post(first["Location"], form)
    with tenant_scope(acme):
        question = EvaluationQuestion.objects.get()
    assert (question.answers, question.documents, question.pages) == (
        ["20 euros", "twenty euros"],
        ["Tariff"],
        [1],
    )


def test_what_was_wrong_is_not_expected(
    acme: Organization, turn: UUID, bob_client: Client, alice_client: Client
) -> None:
    say(bob_client, turn, helpful="no", reason="not_found")
    alice_client.post(f"/o/acme/feedback/{given(acme)[0].id}/question")
    with tenant_scope(acme):
        question = EvaluationQuestion.objects.get()
    assert (question.answerable, question.answers, question.documents) == (True, [], [])


def test_a_removed_document_is_quoted_no_more(
    acme: Organization, turn: UUID, document: UUID, bob_client: Client
) -> None:
    say(bob_client, turn, helpful="yes")
    assert given(acme)[0].citations
    remove_document(acme, document)
    assert given(acme)[0].citations == []
    assert residue(acme, document)["citations"] == 0


def test_it_outlives_the_conversation(acme: Organization, turn: UUID, bob: User, bob_client: Client) -> None:
    say(bob_client, turn, helpful="yes")
    with tenant_scope(acme):
        conversation = Turn.objects.get(id=turn).conversation_id
    delete_conversation(Asker(acme, bob.pk), conversation)
    (row,) = given(acme)
    assert (row.turn_id, row.question) == (None, "What is the tariff?")
