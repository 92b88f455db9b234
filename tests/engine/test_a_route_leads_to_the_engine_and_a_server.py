"""A route over a real engine and a server that fails, opened by the runtime and asked for through the service."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from typing import Any

import httpx
import pytest

from inference import runtime
from inference.engine.engine import Engine
from inference.engine.remote.generator import RemoteGenerator
from inference.errors import InvalidRequest
from inference.request import ChatMessage, SamplingParams
from inference.routes import Remote, Route
from inference.runtime import Runtime, RuntimeConfig
from inference.service import create_app
from tests.engine.tiny import TinyCheckpoint, letters, make_config
from tests.inference import scripted_server
from tests.inference.scripted_server import ALICE, WHOLE, begin
from tests.inference.test_remote_equals_in_process import KEY, serving

HELLO = [ChatMessage("user", letters([5, 9, 2]))]
PARAMS = SamplingParams(max_tokens=5, ignore_eos=True)


@dataclass
class Server:
    """What the server of another maker does."""

    url: str = ""
    maker: str = "vllm"
    lists: bool = True
    answers: bool = True

    def models(self) -> dict[str, Any] | None:
        entry = {"id": "their-model", "max_model_len": 512, "owned_by": self.maker}
        return entry if self.lists else None

    def write(self, request: BaseHTTPRequestHandler) -> None:
        begin(request, 200 if self.answers else 503)
        request.wfile.write(WHOLE if self.answers else b"{}")


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "RETRY_FAILED_S", 0.05)
    monkeypatch.setattr("inference.engine.remote.attempts.PAUSE_S", 0.01)
    monkeypatch.setattr("inference.loading.tokenizer.load_tokenizer", lambda path: scripted_server.letters())
    monkeypatch.setattr(
        "inference.loading.tokenizer.Tokenizer.render_chat",
        lambda self, messages: scripted_server.PROMPT,
    )


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    with scripted_server.serving(server.write, status=None, lists=server.models) as (url, _):
        server.url = url
        yield server


@pytest.fixture
def engine(llama: TinyCheckpoint) -> Iterator[Engine]:
    engine = Engine.start(make_config(), llama)
    yield engine
    engine.stop()


@contextmanager
def opened(server: Server, engine: Engine) -> Iterator[Runtime]:
    """A runtime whose default route leads to the server, then to the engine."""
    config = RuntimeConfig(
        remotes=(Remote("big", server.url, tokenizer="somewhere"),),
        routes=(Route("answers", ("big", "engine")), Route("own", ("engine",))),
    )
    mine = Runtime()
    try:
        runtime._open_routes(config, mine, lambda: engine)
        yield mine
    finally:
        mine.stop()


def text_of(mine: Runtime, model: str = "") -> str:
    generator = mine.generator_of(model)
    text, end = generator.submit(generator.render_chat(HELLO), PARAMS, share=ALICE).result(20)
    assert end.error is None
    return text


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, "did not happen within 20 s"
        time.sleep(0.02)


def test_the_engine_answers_while_the_server_does_not(server: Server, engine: Engine) -> None:
    with opened(server, engine) as mine:
        own = text_of(mine, "own")
        assert text_of(mine) == text_of(mine, "answers") == "whole" != own
        server.answers = False
        assert text_of(mine) == own
        with pytest.raises(InvalidRequest, match="no model their-model"):
            mine.generator_of("their-model")


def test_a_server_that_comes_late_is_used_then(server: Server, engine: Engine) -> None:
    server.lists = False
    with opened(server, engine) as mine:
        assert text_of(mine) == text_of(mine, "own")
        server.lists = True
        until(lambda: mine.generator.metrics()['backend_up{route="answers",backend="big"}'] == 1.0)
        assert text_of(mine) == "whole"


def test_a_server_that_may_mix_organisations_is_refused_at_start(server: Server, engine: Engine) -> None:
    server.maker = "somebody"
    with pytest.raises(InvalidRequest, match="prefix caches"), opened(server, engine):
        pass


def test_the_service_lists_the_routes_and_answers_by_name(server: Server, engine: Engine) -> None:
    chat = {
        "messages": [{"role": "user", "content": letters([5, 9, 2])}],
        "max_tokens": 5,
        "ignore_eos": True,
    }
    with (
        opened(server, engine) as mine,
        serving(create_app(mine, KEY)) as url,
        httpx.Client(base_url=url, headers={"Authorization": f"Bearer {KEY}"}, timeout=30) as client,
    ):
        mine._settle("ready", "")
        names = [entry["id"] for entry in client.get("/v1/models").json()["data"]]
        assert names == ["answers", "own"]
        own = text_of(mine, "own")
        for model, expected in (("answers", "whole"), ("own", own)):
            answer = client.post("/v1/chat/completions", json={**chat, "model": model})
            assert answer.json()["choices"][0]["message"]["content"] == expected
        assert client.post("/v1/chat/completions", json={**chat, "model": "other"}).status_code == 400
        metrics = client.get("/metrics").text
        assert (
            'tessera:backend_requests_total{model_name="answers",route="answers",backend="big"} 1.0'
            in metrics
        )

        far = RemoteGenerator.connect(Remote("r", url, api_key=KEY))
        try:
            assert far.model_name == "answers"
            server.answers = False
            handle = far.submit(far.render_chat(HELLO), PARAMS, share=ALICE)
            assert handle.result(20)[0] == own, "the messages did not come along to be rendered anew"
        finally:
            far.stop()
