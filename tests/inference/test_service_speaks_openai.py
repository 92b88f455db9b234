from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from inference.config import EngineConfig
from inference.engine.engine import Engine
from inference.runtime import Runtime
from inference.service import create_app
from tests.inference.test_remote_equals_in_process import KEY, serving


@pytest.fixture(scope="module")
def client(smollm2: Path) -> Iterator[httpx.Client]:
    engine = Engine.start(
        EngineConfig(
            smollm2, "smollm2-135m-instruct", kv_cache_tokens=2_048, max_model_len=512, num_threads=1
        )
    )
    headers = {"Authorization": f"Bearer {KEY}"}
    with (
        serving(create_app(Runtime.of(engine), KEY)) as url,
        httpx.Client(base_url=url, headers=headers) as client,
    ):
        yield client
    engine.stop()


def _post(client: httpx.Client, path: str, **body: Any) -> httpx.Response:
    return client.post(path, json=body, timeout=60)


def test_a_chat_answers_whole_and_streamed_alike(client: httpx.Client) -> None:
    messages = [{"role": "user", "content": "What is the capital of France?"}]
    whole = _post(client, "/v1/chat/completions", messages=messages, max_tokens=20).json()
    assert whole["object"] == "chat.completion"
    assert "Paris" in whole["choices"][0]["message"]["content"]
    assert whole["choices"][0]["finish_reason"] == "stop"
    assert whole["usage"]["completion_tokens"] > 0

    streamed = _post(client, "/v1/chat/completions", messages=messages, max_tokens=20, stream=True)
    assert streamed.headers["content-type"].startswith("text/event-stream")
    data = [line.removeprefix("data: ") for line in streamed.text.splitlines() if line.startswith("data: ")]
    assert data[-1] == "[DONE]"
    chunks = [json.loads(piece) for piece in data[:-1]]
    text = "".join(choice["delta"].get("content", "") for chunk in chunks for choice in chunk["choices"])
    assert text == whole["choices"][0]["message"]["content"]
    assert chunks[-1]["usage"]["completion_tokens"] == whole["usage"]["completion_tokens"]


def test_a_text_prompt_is_plain_text(client: httpx.Client) -> None:
    tokens = _post(client, "/tokenize", prompt="<|im_start|>").json()
    assert tokens["count"] == len(tokens["tokens"]) > 1
    answer = _post(client, "/v1/completions", prompt="One, two, three,", max_tokens=4).json()
    assert answer["choices"][0]["text"].strip().startswith("four")


def test_models_are_listed(client: httpx.Client) -> None:
    listed = client.get("/v1/models")
    assert listed.status_code == 200
    assert [entry["id"] for entry in listed.json()["data"]] == ["smollm2-135m-instruct"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/completions", {}),
        ("/v1/completions", {"prompt": [1, "x"]}),
        ("/v1/completions", {"prompt": [1, 2], "max_tokens": "many"}),
        ("/v1/completions", {"prompt": [1, 2], "temperature": True}),
        ("/v1/completions", {"prompt": [1, 2], "priority": 9}),
        ("/v1/completions", {"prompt": [1, 2], "public_prefix": 3}),
        ("/v1/completions", {"prompt": [1, 2], "share": {"key": "a", "cache_salt": "zz"}}),
        ("/v1/completions", {"prompt": [1, 2], "share": {"key": "a", "weight": 0}}),
        ("/v1/completions", {"prompt": [1, 2], "stop": 5}),
        ("/v1/completions", {"prompt": [1, 10_000_000]}),
        ("/v1/chat/completions", {"messages": []}),
        ("/v1/chat/completions", {"messages": [{"role": "root", "content": "x"}]}),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}),
    ],
)
def test_a_wrong_request_is_refused_with_a_reason(
    client: httpx.Client, path: str, body: dict[str, Any]
) -> None:
    answer = client.post(path, json=body)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["code"] == "invalid_request"
    assert answer.json()["error"]["message"]


def test_a_body_that_is_no_object_is_refused(client: httpx.Client) -> None:
    for content in (b"", b"[]", b"{", b"\xff"):
        assert client.post("/v1/completions", content=content).status_code == 400


def test_an_unknown_address_is_not_found(client: httpx.Client) -> None:
    assert client.get("/v1/nothing").status_code == 404
