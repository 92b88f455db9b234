"""``/api/v1/answers``: blocking and streamed, the same answer; conversations belong to who began them."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.test import Client

from search.events import PING
from search.streams import MemoryStreams
from tenants.models import Organization
from tests.search.conftest import Library
from tests.search.doubles import ScriptedGenerator
from tests.search.library import page_text

pytestmark = pytest.mark.django_db(transaction=True)
Api = Callable[..., Client]
URL = "/api/v1/answers"
QUESTION = "What is the monthly tariff in euros?"
REPLY = "The monthly tariff is 20 euros [9]. It starts in May 2024."


def post(client: Client, body: Any, url: str = URL, **headers: str) -> Any:
    return client.post(url, json.dumps(body), content_type="application/json", headers=headers)


def events(response: Any) -> list[tuple[int, str, dict[str, Any]]]:
    async def read() -> list[bytes]:
        return [part async for part in response.streaming_content]

    return [parse(part) for part in asyncio.run(read()) if part != PING]


def parse(part: bytes) -> tuple[int, str, dict[str, Any]]:
    fields = dict(line.split(": ", 1) for line in part.decode().strip().split("\n"))
    return int(fields["id"]), fields["event"], json.loads(fields["data"])


def test_an_answer_is_complete_and_cited(
    api: Api, acme: Organization, library: Library, generator: ScriptedGenerator
) -> None:
    generator.reply = REPLY
    client = api(acme)
    response = post(client, {"question": QUESTION})
    assert response.status_code == 200, response.content
    body = response.json()
    assert set(body) == {
        "id", "conversation_id", "question", "status", "answer", "citations", "unsupported", "conflicts", "usage", "model",
        "created_at",
    }  # fmt: skip
    assert body["unsupported"] == body["conflicts"] == []
    assert body["status"] == "answered"
    (citation,) = body["citations"]
    n = citation["n"]
    assert body["answer"] == f"The monthly tariff is 20 euros [{n}]. It starts in May 2024 [{n}]."
    assert (citation["document_id"], citation["title"], citation["page"]) == (
        str(library.tariff),
        "Tariff",
        2,
    )
    page = page_text(acme, library.tariff, 2)
    assert page[citation["start"] : citation["end"]] == citation["quote"]
    assert set(body["usage"]) == {"prompt_tokens", "completion_tokens"}
    assert body["model"] == "scripted"
    assert client.get(f"{URL}/{body['id']}").json() == body


@pytest.mark.parametrize("kept", ["mark", "omit"])
def test_a_sentence_that_no_passage_supports_is_told_or_left_out(
    api: Api,
    acme: Organization,
    library: Library,
    generator: ScriptedGenerator,
    kept: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(settings.ENV, "unsupported_sentences", kept)
    generator.reply = "The monthly tariff is 20 euros. Dragons invented harbours long ago."
    streamed = events(post(api(acme), {"question": QUESTION, "stream": True}))
    name, data = streamed[-1][1:]
    assert name == "answer.completed"
    assert ("Dragons" in data["answer"]) == (kept == "mark")
    told = [each["text"] for each in data["unsupported"]]
    assert told == (["Dragons invented harbours long ago."] if kept == "mark" else [])
    assert ("no source" in data["html"]) == (kept == "mark")
    assert all(data["answer"][each["start"] : each["end"]] == each["text"] for each in data["unsupported"])


def test_what_is_not_in_the_documents_is_said(api: Api, acme: Organization, library: Library) -> None:
    body = post(api(acme), {"question": "Who painted the ceiling of the chapel?"}).json()
    assert (body["status"], body["answer"]) == ("not_found", "This is not in your documents.")
    assert body["citations"] == []
    assert body["model"] == "", "no model was asked"


@pytest.mark.parametrize("way", ["stream", "accept"])
def test_a_stream_tells_the_same_answer(
    api: Api, acme: Organization, library: Library, generator: ScriptedGenerator, way: str
) -> None:
    generator.reply = REPLY
    client = api(acme)
    if way == "stream":
        response = post(client, {"question": QUESTION, "stream": True})
    else:
        response = post(client, {"question": QUESTION}, accept="text/event-stream")
    assert response.headers["Content-Type"] == "text/event-stream"
    told = events(response)
    assert [number for number, _, _ in told] == list(range(1, len(told) + 1))
    names = [name for _, name, _ in told]
    assert names[:2] == ["run.created", "sources"]
    assert {"answer.delta", "citation", "citation.verified", "usage"} <= set(names)
    assert names[-1] == "answer.completed"
    done = told[-1][2]
    assert "".join(data["text"] for _, name, data in told if name == "answer.delta") == done["answer"]
    kept = client.get(f"{URL}/{told[0][2]['turn_id']}").json()
    assert (kept["answer"], kept["status"]) == (done["answer"], done["status"])
    urls = [citation.pop("url") for citation in done["citations"]]
    assert kept["citations"] == done["citations"]
    assert all(url in done["html"].replace("&amp;", "&") for url in urls)
    assert urls[0].startswith(f"/o/acme/documents/{library.tariff}/?page=2&")


def test_a_dropped_stream_goes_on_where_it_broke(
    api: Api, acme: Organization, library: Library, generator: ScriptedGenerator
) -> None:
    generator.reply = REPLY
    client = api(acme)
    told = events(post(client, {"question": QUESTION, "stream": True}))
    url = f"{URL}/{told[0][2]['turn_id']}"
    again = client.get(url, headers={"accept": "text/event-stream", "Last-Event-ID": "3"})
    assert events(again) == told[3:]


def test_a_stream_that_is_no_longer_kept_ends_with_what_the_row_says(
    api: Api, acme: Organization, library: Library, generator: ScriptedGenerator, monkeypatch: Any
) -> None:
    generator.reply = REPLY
    client = api(acme)
    body = post(client, {"question": QUESTION}).json()
    monkeypatch.setattr("search.streams._store", MemoryStreams())
    told = events(client.get(f"{URL}/{body['id']}", headers={"accept": "text/event-stream"}))
    assert [name for _, name, _ in told] == ["sources", "usage", "answer.completed"]
    assert told[-1][2]["answer"] == body["answer"]


def test_an_answer_is_stopped_and_keeps_what_was_written(
    api: Api, acme: Organization, library: Library, generator: ScriptedGenerator
) -> None:
    generator.reply = "The monthly tariff is 20 euros. " + "It starts in May 2024. " * 5
    generator.release.clear()
    client = api(acme)
    response = post(client, {"question": QUESTION, "stream": True})
    turn_id = client.get("/api/v1/conversations").json()["results"][0]["id"]
    (turn,) = client.get(f"/api/v1/conversations/{turn_id}").json()["turns"]
    until(lambda: generator.prompts)
    stopped = client.post(f"{URL}/{turn['id']}/stop").json()
    assert stopped["status"] == "stopped"
    assert stopped["answer"].startswith("The monthly tariff is 20 euros [")
    assert generator.aborted
    assert events(response)[-1][2]["status"] == "stopped"


def test_a_follow_up_belongs_to_its_conversation(
    api: Api, acme: Organization, library: Library, generator: ScriptedGenerator
) -> None:
    generator.reply = REPLY
    client = api(acme)
    first = post(client, {"question": QUESTION}).json()
    second = post(client, {"question": "And since when?", "conversation_id": first["conversation_id"]}).json()
    assert second["conversation_id"] == first["conversation_id"]
    assert f"Earlier question: {QUESTION}" in generator.prompts[1]
    found = client.get(f"/api/v1/conversations/{first['conversation_id']}").json()
    assert [turn["id"] for turn in found["turns"]] == [first["id"], second["id"]]


def test_nobody_else_sees_or_continues_a_conversation(
    api: Api, acme: Organization, globex: Organization, library: Library, generator: ScriptedGenerator
) -> None:
    generator.reply = REPLY
    body = post(api(acme), {"question": QUESTION}).json()
    conversation = body["conversation_id"]
    for other in (api(acme), api(globex)):
        assert other.get("/api/v1/conversations").json()["results"] == []
        assert other.get(f"{URL}/{body['id']}").status_code == 404
        assert other.post(f"{URL}/{body['id']}/stop").status_code == 404
        assert other.get(f"/api/v1/conversations/{conversation}").status_code == 404
        assert other.delete(f"/api/v1/conversations/{conversation}").status_code == 404
        assert post(other, {"question": "x", "conversation_id": conversation}).status_code == 404


def test_an_error_of_the_engine_keeps_its_code(
    api: Api, acme: Organization, library: Library, generator: ScriptedGenerator
) -> None:
    from inference.errors import Overloaded

    generator.reply, generator.error = "The", Overloaded("The queue is full.")
    response = post(api(acme), {"question": QUESTION})
    assert (response.status_code, response.json()["error"]["code"]) == (503, "overloaded")
    assert response.headers["Retry-After"]


def test_before_the_models_are_ready_nothing_is_begun(api: Api, acme: Organization, alice: User) -> None:
    client = api(acme)
    response = post(client, {"question": QUESTION}, accept="text/event-stream")
    assert (response.status_code, response.json()["error"]["code"]) == (503, "not_ready")
    assert client.get("/api/v1/conversations").json()["results"] == []


@pytest.mark.parametrize(
    "body",
    [{}, {"question": ""}, {"question": "x" * 4001}, {"question": "x", "conversation_id": "1"},
     {"question": "x", "stream": "perhaps"}, {"question": "x", "filters": {"and": []}}],
)  # fmt: skip
def test_what_is_no_question_is_refused(api: Api, acme: Organization, models: Any, body: Any) -> None:
    assert post(api(acme), body).status_code == 400


def test_an_unknown_conversation_is_not_found(api: Api, acme: Organization, models: Any) -> None:
    assert post(api(acme), {"question": "x", "conversation_id": str(uuid4())}).status_code == 404


def until(holds: Callable[[], Any], seconds: float = 5.0) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)
