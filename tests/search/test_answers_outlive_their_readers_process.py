"""An answer is read and stopped from another process than the one that makes it; one that died fails its turn."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.db import connections
from django.test import Client

from search import asking, conversations, streams
from search.conversations import Asker
from search.events import PING
from search.streams import MemoryStreams
from tenants.models import Organization
from tests.search.conftest import Library
from tests.search.doubles import ScriptedGenerator
from tests.search.stream_stores import GRACE_S, LEASE_S, over_redis
from tests.search.test_api_answers_are_cited import QUESTION, URL, events, post, until

pytestmark = pytest.mark.django_db(transaction=True)
Api = Callable[..., Client]
SENTENCE = "The monthly tariff is 20 euros. "


@pytest.fixture
def enter() -> Iterator[Callable[[streams.StreamStore], None]]:
    """``enter(store)`` makes the rest of the test happen in the process of that store."""
    entered: list[streams.StreamStore] = []

    def make(store: streams.StreamStore) -> None:
        entered.append(store)
        streams.install(store)

    yield make
    streams.install(None)
    for store in entered:
        store.close()
    asyncio.run(sync_to_async(connections.close_all)())  # of the thread that read rows for a stream


@pytest.fixture
def under_way(api: Api, acme: Organization, library: Library, generator: ScriptedGenerator) -> Any:
    """``under_way()`` asks as acme and returns the client and the turn's id, half of the answer written."""

    def begin() -> tuple[Client, str]:
        generator.reply = SENTENCE * 6
        generator.release.clear()
        client = api(acme)
        post(client, {"question": QUESTION, "stream": True})
        conversation = client.get("/api/v1/conversations").json()["results"][0]["id"]
        (turn,) = client.get(f"/api/v1/conversations/{conversation}").json()["turns"]
        until(lambda: generator.prompts)
        return client, turn["id"]

    return begin


def read(client: Client, turn_id: str, after: int = 0) -> list[tuple[int, str, dict[str, Any]]]:
    headers = {"accept": "text/event-stream", "Last-Event-ID": str(after)}
    return events(client.get(f"{URL}/{turn_id}", headers=headers))


@pytest.mark.redis
def test_an_answer_made_elsewhere_is_streamed_and_resumed(
    under_way: Any, generator: ScriptedGenerator, enter: Any
) -> None:
    enter(over_redis())
    client, turn_id = under_way()
    enter(over_redis())
    generator.release.set()
    told = read(client, turn_id)
    assert [number for number, _, _ in told] == list(range(1, len(told) + 1))
    assert told[0][1] == "run.created"
    assert told[-1][1] == "answer.completed"
    deltas = "".join(data["text"] for _, name, data in told if name == "answer.delta")
    assert deltas == told[-1][2]["answer"]
    assert read(client, turn_id, 4) == told[4:]


@pytest.mark.redis
def test_an_answer_made_elsewhere_is_stopped(
    under_way: Any, generator: ScriptedGenerator, enter: Any
) -> None:
    enter(over_redis())
    client, turn_id = under_way()
    enter(over_redis())
    stopped = client.post(f"{URL}/{turn_id}/stop").json()
    assert stopped["status"] == "stopped"
    assert stopped["answer"].startswith("The monthly tariff is 20 euros")
    assert generator.aborted
    assert read(client, turn_id)[-1][2]["status"] == "stopped"


@pytest.mark.redis
def test_another_organisation_neither_reads_nor_stops_it(
    under_way: Any, generator: ScriptedGenerator, enter: Any, api: Api, globex: Organization
) -> None:
    enter(over_redis())
    client, turn_id = under_way()
    enter(over_redis())
    charlie = api(globex)
    assert charlie.get(f"{URL}/{turn_id}", headers={"accept": "text/event-stream"}).status_code == 404
    assert charlie.post(f"{URL}/{turn_id}/stop").status_code == 404
    assert not generator.aborted
    generator.release.set()
    assert read(client, turn_id)[-1][1] == "answer.completed"


@pytest.mark.redis
def test_a_process_that_dies_ends_its_answers_with_an_error(
    under_way: Any, generator: ScriptedGenerator, enter: Any
) -> None:
    dying = over_redis()
    enter(dying)
    client, turn_id = under_way()
    enter(over_redis())
    assert client.get(f"{URL}/{turn_id}").json()["status"] == "streaming"
    dying.close()
    died = time.monotonic()
    told = read(client, turn_id)
    assert time.monotonic() - died < LEASE_S + GRACE_S + 10
    assert told[-1][1] == "error"
    assert told[-1][2]["code"] == "lost"
    assert client.get(f"{URL}/{turn_id}").json()["status"] == "failed"


@pytest.mark.redis
def test_who_only_asks_for_the_state_learns_of_the_death_too(
    under_way: Any, generator: ScriptedGenerator, enter: Any
) -> None:
    dying = over_redis()
    enter(dying)
    client, turn_id = under_way()
    enter(over_redis())
    dying.close()
    until(lambda: client.get(f"{URL}/{turn_id}").json()["status"] == "failed", LEASE_S + GRACE_S + 10)


@pytest.mark.parametrize("way", ["read", "stop", "look"])
def test_after_a_restart_of_the_one_process_its_answers_have_failed(
    under_way: Any, enter: Any, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    monkeypatch.setattr(asking, "LOOK_FOR_S", 0.1)
    client, turn_id = under_way()
    enter(MemoryStreams())
    if way == "read":
        assert read(client, turn_id)[-1][2]["code"] == "lost"
    elif way == "stop":
        assert client.post(f"{URL}/{turn_id}/stop").json()["status"] == "failed"
    assert client.get(f"{URL}/{turn_id}").json()["status"] == "failed"


def test_an_end_that_comes_after_the_turn_was_given_up_changes_nothing(
    under_way: Any, generator: ScriptedGenerator, enter: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "LOOK_FOR_S", 0.1)
    slow = MemoryStreams()
    enter(slow)
    client, turn_id = under_way()
    streams.install(MemoryStreams())
    assert client.get(f"{URL}/{turn_id}").json()["status"] == "failed"
    generator.release.set()
    (stream,) = slow._streams.values()
    assert stream.wait(5)
    assert client.get(f"{URL}/{turn_id}").json()["status"] == "failed"
    _, (name, data) = stream.after(0)[-1]
    assert (name, data["code"]) == ("error", "superseded")


def test_an_answer_begun_again_is_not_overwritten_by_the_one_before(
    acme: Organization, alice: User, library: Library, generator: ScriptedGenerator, enter: Any
) -> None:
    enter(MemoryStreams())
    generator.reply = SENTENCE * 6
    generator.release.clear()
    asker = Asker(acme, user_id=alice.pk)
    first = asking.ask(asker, question=QUESTION, filters={})
    until(lambda: generator.prompts)
    generator.reply = "It starts in May 2024."
    asking.ask_again(asker, first.id)
    until(lambda: generator.aborted)
    generator.release.set()
    turn = asking.wait_for(asker, first.id)
    time.sleep(0.2)
    assert (turn.status, turn.answer[:21]) == ("answered", "It starts in May 2024")
    assert conversations.get_turn(asker, first.id) == turn


def test_who_counted_the_events_of_an_answer_that_was_replaced_gets_the_new_one(
    acme: Organization, alice: User, library: Library, generator: ScriptedGenerator, enter: Any
) -> None:
    enter(MemoryStreams())
    generator.reply = SENTENCE
    asker = Asker(acme, user_id=alice.pk)
    turn = asking.ask(asker, question=QUESTION, filters={})
    asking.wait_for(asker, turn.id)

    async def read() -> list[str]:
        parts = asking.event_stream(asker, turn, 500)
        return [part.decode().split("\n")[1] async for part in parts if part != PING]

    told = asyncio.run(read())
    assert told[0] == "event: run.created"
    assert told[-1] == "event: answer.completed"


@pytest.mark.redis
def test_while_redis_is_away_the_row_tells_the_end(
    under_way: Any, generator: ScriptedGenerator, enter: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from search.redis_streams import RedisStreams

    monkeypatch.setattr(asking, "POLL_EVERY_S", 0.05)
    enter(over_redis())
    client, turn_id = under_way()
    enter(RedisStreams("redis://127.0.0.1:1/0"))
    assert client.get(f"{URL}/{turn_id}").json()["status"] == "streaming"
    generator.release.set()
    told = read(client, turn_id)
    assert [name for _, name, _ in told] == ["sources", "usage", "answer.completed"]
