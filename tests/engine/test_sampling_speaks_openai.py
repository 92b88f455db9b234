"""Logprobs in OpenAI's two shapes, and parameters that the service refuses, over HTTP."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from inference.choices import Choices, logprobs_from_json
from inference.engine.engine import Engine
from inference.request import Delta, SamplingParams, TokenLogprob
from inference.runtime import Runtime
from inference.service import create_app
from inference.wire import sampling_from_json, sampling_to_json
from tests.engine.tiny import TinyCheckpoint, letters, make_config
from tests.inference.test_remote_equals_in_process import serving

KEY = "a-key-for-tests"
PROMPT = [5, 9, 2, 44, 7]
WHOLE: dict[str, Any] = {"prompt": PROMPT, "max_tokens": 6, "ignore_eos": True}
CHAT: dict[str, Any] = {
    "messages": [{"role": "user", "content": letters(PROMPT)}],
    "max_tokens": 6,
    "ignore_eos": True,
}


@pytest.fixture(scope="module")
def client(llama: TinyCheckpoint) -> Iterator[httpx.Client]:
    engine = Engine.start(make_config(), llama)
    headers = {"Authorization": f"Bearer {KEY}"}
    with (
        serving(create_app(Runtime.of(engine), KEY)) as url,
        httpx.Client(base_url=url, headers=headers, timeout=60) as client,
    ):
        yield client
    engine.stop()


def post(client: httpx.Client, path: str, body: dict[str, Any], **more: Any) -> Any:
    answer = client.post(path, json=body | more)
    assert answer.status_code == 200, answer.text
    return answer.json()["choices"][0]


def streamed(client: httpx.Client, path: str, body: dict[str, Any], **more: Any) -> list[Any]:
    answer = client.post(path, json=body | more | {"stream": True})
    data = [line[6:] for line in answer.text.splitlines() if line.startswith("data: ") and "DONE" not in line]
    return [choice for piece in data for choice in json.loads(piece)["choices"]]


def test_completions_list_tokens_logprobs_alternatives_and_offsets(client: httpx.Client) -> None:
    choice = post(client, "/v1/completions", WHOLE, logprobs=3, temperature=1.5, seed=3)
    shown = choice["logprobs"]
    assert "".join(shown["tokens"]) == choice["text"]
    assert shown["text_offset"] == list(range(6))
    for token, logprob, likeliest in zip(
        shown["tokens"], shown["token_logprobs"], shown["top_logprobs"], strict=True
    ):
        assert likeliest[token] == logprob < 0
        assert len(likeliest) in (3, 4)
        assert sum(map(math.exp, likeliest.values())) <= 1 + 1e-9
    assert any(len(likeliest) == 4 for likeliest in shown["top_logprobs"]), "no unlikely token was chosen"


def test_chats_show_each_token_with_bytes_and_alternatives(client: httpx.Client) -> None:
    choice = post(client, "/v1/chat/completions", CHAT, logprobs=True, top_logprobs=2)
    content = choice["logprobs"]["content"]
    assert "".join(entry["token"] for entry in content) == choice["message"]["content"]
    for entry in content:
        assert bytes(entry["bytes"]).decode() == entry["token"]
        assert set(entry) == {"token", "logprob", "bytes", "top_logprobs"}
        assert entry["top_logprobs"][0] == {key: entry[key] for key in ("token", "logprob", "bytes")}
        assert len(entry["top_logprobs"]) == 2
    alone = post(client, "/v1/chat/completions", CHAT, logprobs=True)["logprobs"]["content"]
    assert [entry["top_logprobs"] for entry in alone] == [[]] * 6


@pytest.mark.parametrize(
    ("path", "body", "wish"),
    [
        ("/v1/completions", WHOLE, {"logprobs": 2}),
        ("/v1/chat/completions", CHAT, {"logprobs": True, "top_logprobs": 2}),
    ],
)
def test_a_stream_shows_the_same_logprobs_as_the_whole(
    client: httpx.Client, path: str, body: dict[str, Any], wish: dict[str, Any]
) -> None:
    whole = post(client, path, body, **wish)["logprobs"]
    pieces = [choice["logprobs"] for choice in streamed(client, path, body, **wish)]
    assert len(pieces) == 7
    assert pieces.pop() is None
    for key in ("tokens", "token_logprobs", "top_logprobs", "text_offset", "content"):
        assert [item for piece in pieces for item in piece.get(key, [])] == whole.get(key, [])


def test_nobody_pays_for_logprobs_unasked(client: httpx.Client) -> None:
    for wish in ({}, {"logprobs": None}, {"logprobs": False}):
        assert post(client, "/v1/completions", WHOLE, **wish)["logprobs"] is None
        assert post(client, "/v1/chat/completions", CHAT, **wish)["logprobs"] is None


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        ({"n": 2}, "n must be 1"),
        ({"best_of": 2}, "best_of is not supported"),
        ({"logit_bias": {"5": 100}}, "logit_bias is not supported"),
        ({"logprobs": 21}, "logprobs must lie between 0 and 20"),
        ({"logprobs": -1}, "logprobs must lie between 0 and 20"),
        ({"logprobs": 1.5}, "logprobs must be a whole number"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs must lie between 0 and 20"),
        ({"top_logprobs": 2}, "top_logprobs needs logprobs"),
        ({"min_p": 2}, "min_p must lie between 0 and 1"),
        ({"min_p": "some"}, "min_p must be a number"),
        ({"top_p": 0}, "top_p must be above 0 and at most 1"),
        ({"repetition_penalty": 0}, "repetition_penalty must lie between 0.01 and 10"),
        ({"frequency_penalty": 3}, "frequency_penalty must lie between -2 and 2"),
        ({"presence_penalty": [1]}, "presence_penalty must be a number"),
        ({"seed": 1 << 64}, "seed must lie between"),
        ({"seed": 0.5}, "seed must be a whole number"),
        ({"stop": [5]}, "stop must be a string or a list"),
        ({"stop": ["a"] * 17}, "stop must be at most 16 strings"),
        ({"stop_token_ids": ["a"]}, "stop_token_ids must be a list of token ids"),
        ({"stop_token_ids": [1 << 40]}, "stop_token_ids must be at most 128 tokens between 0 and 198"),
    ],
)
def test_what_is_refused_is_named(client: httpx.Client, wish: dict[str, Any], said: str) -> None:
    for path, body in (("/v1/completions", WHOLE), ("/v1/chat/completions", CHAT)):
        answer = client.post(path, json=body | wish)
        assert answer.status_code == 400
        assert answer.json()["error"]["code"] == "invalid_request"
        assert said in answer.json()["error"]["message"]


@pytest.mark.parametrize("name", ["temperature", "top_p", "min_p", "repetition_penalty", "presence_penalty"])
@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_what_is_no_number_is_refused(client: httpx.Client, name: str, value: str) -> None:
    content = f'{{"prompt": [1], "max_tokens": 2, "{name}": {value}}}'
    answer = client.post("/v1/completions", content=content)
    assert answer.status_code == 400
    assert f"{name} must be a finite number" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    "params",
    [
        SamplingParams(),
        SamplingParams(9, 0.5, 3, 0.25, -7, ("a", "b"), True, 0.1, 1.5, -1.0, 2.0, (4, 5), 0),
    ],
)
def test_parameters_travel_whole(params: SamplingParams) -> None:
    assert sampling_from_json(json.loads(json.dumps(sampling_to_json(params)))) == params


def test_other_servers_are_sent_only_what_was_asked_for() -> None:
    assert set(sampling_to_json(SamplingParams())) == {"max_tokens", "temperature", "top_p", "stop"}


HALVES = {1: b"caf\xc3", 2: b"\xa9!", 3: b"", 4: b"ok"}
PIECE = Delta(
    "caf\u00e9!ok",
    (1, 2, 4),
    (
        TokenLogprob(1, -0.5, ((1, -0.5), (3, -1.0))),
        TokenLogprob(2, -3.0, ((4, -0.25), (3, -1.0))),
        TokenLogprob(4, -0.1, ((4, -0.1), (2, -4.0))),
    ),
)


def test_half_characters_and_control_tokens_have_names_of_their_own() -> None:
    shown = Choices("text", HALVES.__getitem__).show(PIECE)["logprobs"]
    assert shown["tokens"] == [r"bytes:\x63\x61\x66\xc3", r"bytes:\xa9\x21", "ok"]
    assert shown["text_offset"] == [0, 4, 5]
    assert shown["top_logprobs"][1] == {"ok": -0.25, "token_id:3": -1.0, r"bytes:\xa9\x21": -3.0}


def test_named_by_numbers_logprobs_come_back_as_they_were() -> None:
    choice = json.loads(json.dumps(Choices("text", HALVES.__getitem__, as_ids=True).show(PIECE)))
    assert logprobs_from_json(choice, 2) == PIECE.logprobs
    assert logprobs_from_json(Choices("text", HALVES.__getitem__).show(Delta("ok", (4,))), 2) == ()
