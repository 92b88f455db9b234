"""Over HTTP a full queue is a 503 with Retry-After, also for a stream: never a stream that breaks off."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from inference.engine.engine import Engine
from inference.runtime import Runtime
from inference.service import create_app
from tests.engine.test_a_failed_service_says_so import KEY
from tests.engine.tiny import ACME, GLOBEX, TinyCheckpoint, make_config, make_prompts, submit
from tests.inference.test_remote_equals_in_process import serving

PROMPT = make_prompts(1)[0]


@pytest.fixture
def client(llama: TinyCheckpoint) -> Iterator[httpx.Client]:
    """In front of an engine whose queue is full and that never steps."""
    engine = Engine(make_config(max_queued_requests=2), llama)
    submit(engine, PROMPT, share=ACME)
    submit(engine, PROMPT, share=GLOBEX)
    with (
        serving(create_app(Runtime.of(engine), KEY)) as url,
        httpx.Client(base_url=url, headers={"Authorization": f"Bearer {KEY}"}) as client,
    ):
        yield client


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({}, 503, "overloaded"),
        ({"max_tokens": 100_000}, 400, "prompt_too_long"),
        ({"temperature": -1}, 400, "invalid_request"),
        ({"stop": [""]}, 400, "invalid_request"),
        ({"logprobs": 1000}, 400, "invalid_request"),
    ],
)
def test_a_refusal_is_the_whole_answer(
    client: httpx.Client, stream: bool, change: dict[str, Any], status: int, code: str
) -> None:
    body = {"prompt": list(PROMPT.token_ids), "max_tokens": 4, "stream": stream} | change
    answer = client.post("/v1/completions", json=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert ("retry-after" in answer.headers) == (status == 503)
