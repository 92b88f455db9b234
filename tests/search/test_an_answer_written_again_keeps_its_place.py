"""Writing an answer again changes its words, not its place in the conversation nor what it is asked after."""

from __future__ import annotations

import pytest

from search import asking, conversations
from search.conversations import Asker
from search.events import AnswerCompleted, UsageCounted
from search.models import Turn
from tenants.models import Organization
from tenants.scope import tenant_scope
from tests.search.conftest import Library
from tests.search.doubles import ScriptedGenerator

FIRST, SECOND = "What is the monthly tariff?", "Does the warranty cover the motor?"


@pytest.mark.django_db(transaction=True)
def test_the_first_question_is_asked_again_as_the_first(
    acme: Organization, library: Library, generator: ScriptedGenerator
) -> None:
    asker = Asker(acme, api_key_id=1)
    generator.reply = "The monthly tariff is 20 euros."
    first = asking.ask(asker, question=FIRST, filters={})
    asking.wait_for(asker, first.id)
    second = asking.ask(asker, question=SECOND, filters={}, conversation_id=first.conversation_id)
    asking.wait_for(asker, second.id)

    asking.ask_again(asker, first.id)
    assert asking.wait_for(asker, first.id).status == "answered"

    turns = conversations.get_conversation(asker, first.conversation_id).turns
    assert [turn.question for turn in turns] == [FIRST, SECOND]
    assert turns[0].created_at == first.created_at
    assert SECOND not in generator.prompts[-1], "a later question was taken for an earlier one"


@pytest.mark.django_db
def test_only_the_last_run_of_a_turn_is_kept(acme: Organization) -> None:
    asker = Asker(acme, api_key_id=1)
    before = conversations.create_turn(asker, question=FIRST, filters={})
    again = conversations.restart_turn(asker, before.id)

    def end(text: str) -> AnswerCompleted:
        return AnswerCompleted("answered", text, (), UsageCounted(1, 1))

    assert not conversations.keep_answer(acme, before, end("old"), None)
    assert conversations.keep_answer(acme, again, end("new"), None)
    with tenant_scope(acme):
        assert Turn.objects.get(id=before.id).answer == "new"
