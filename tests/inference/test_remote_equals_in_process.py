from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import uvicorn

from inference.config import EngineConfig
from inference.embedder import SentenceTransformerEmbedder
from inference.engine.engine import Engine
from inference.engine.remote.generator import RemoteGenerator
from inference.errors import EngineStopped, InferenceError, InvalidRequest, NotReady, PromptTooLong
from inference.loading.checkpoint import Checkpoint
from inference.remote_embedder import RemoteEmbedder
from inference.request import ChatMessage, Delta, Finished, PromptTokens, SamplingParams, Share
from inference.routes import Remote
from inference.runtime import Runtime
from inference.service import InferenceApp, create_app
from tests.inference.scripted_server import generator

KEY = "a-key-for-tests"
ALICE = Share("acme", 2.0, b"salt of acme")
QUESTION = [
    ChatMessage("system", "You are a helpful assistant that answers in one short sentence.", public=True),
    ChatMessage("user", "What is the capital of France? <|im_end|>"),
]


@contextmanager
def serving(app: InferenceApp) -> Iterator[str]:
    """The application on a loopback port, by uvicorn on a thread."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=2))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(20)
        listener.close()


@pytest.fixture(scope="module")
def engine(smollm2: Path) -> Iterator[Engine]:
    engine = Engine.start(
        EngineConfig(
            smollm2, "smollm2-135m-instruct", kv_cache_tokens=4_096, max_model_len=1_024, num_threads=1
        )
    )
    yield engine
    engine.stop()


@pytest.fixture(scope="module")
def embedder(minilm: Path) -> SentenceTransformerEmbedder:
    return SentenceTransformerEmbedder(minilm, "all-MiniLM-L6-v2")


@pytest.fixture(scope="module")
def url(engine: Engine, embedder: SentenceTransformerEmbedder) -> Iterator[str]:
    with serving(create_app(Runtime.of(engine, embedder), KEY)) as address:
        yield address


@pytest.fixture
def remote(url: str) -> Iterator[RemoteGenerator]:
    remote = RemoteGenerator.connect(Remote("r", url, api_key=KEY))
    yield remote
    remote.stop()


def _tokens(events: list[Any]) -> list[int]:
    return [token for event in events if isinstance(event, Delta) for token in event.token_ids]


def _until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, "did not happen within 20 s"
        time.sleep(0.02)


def test_a_prompt_and_its_output_are_the_same_near_and_far(engine: Engine, remote: RemoteGenerator) -> None:
    assert (remote.model_name, remote.max_model_len) == (engine.model_name, engine.max_model_len)
    prompt = remote.render_chat(QUESTION)
    assert prompt == engine.render_chat(QUESTION)
    assert 0 < prompt.public_prefix < len(prompt.token_ids)
    assert remote.count_tokens("a <|im_end|> b") == engine.count_tokens("a <|im_end|> b")

    params = SamplingParams(max_tokens=24)
    here = list(engine.submit(prompt, params, share=ALICE))
    there = list(remote.submit(prompt, params, share=ALICE))

    assert _tokens(there) == _tokens(here) != []
    assert [e.text for e in there if isinstance(e, Delta)] == [e.text for e in here if isinstance(e, Delta)]
    last_here, last_there = here[-1], there[-1]
    assert isinstance(last_here, Finished)
    assert isinstance(last_there, Finished)
    assert last_there.reason == last_here.reason
    assert last_there.usage.completion_tokens == last_here.usage.completion_tokens
    assert last_there.usage.time_to_first_token_s is not None


def test_share_and_salt_reach_the_engine(remote: RemoteGenerator) -> None:
    messages = [ChatMessage("user", "Tell me about the ancient city of Carthage and its harbours. " * 4)]
    prompt, params = remote.render_chat(messages), SamplingParams(max_tokens=1)

    def cached(share: Share) -> int:
        return remote.submit(prompt, params, share=share).result(30)[1].usage.cached_tokens

    assert cached(Share("acme", cache_salt=b"a")) < 32
    assert cached(Share("globex", cache_salt=b"b")) < 32
    assert cached(Share("acme", cache_salt=b"a")) >= 32


def test_an_async_reader_gets_the_same_events(engine: Engine, remote: RemoteGenerator) -> None:
    prompt = remote.render_chat(QUESTION)
    handle = remote.submit(prompt, SamplingParams(max_tokens=10), share=ALICE)

    async def read() -> list[Any]:
        return [event async for event in handle]

    expected = list(engine.submit(prompt, SamplingParams(max_tokens=10), share=ALICE))
    assert _tokens(asyncio.run(read())) == _tokens(expected)


def test_an_abort_reaches_the_engine_and_ends_the_request_once(
    engine: Engine, remote: RemoteGenerator
) -> None:
    aborted = engine.metrics()['request_success_total{finished_reason="abort"}']
    params = SamplingParams(max_tokens=900, ignore_eos=True)
    handle = remote.submit(remote.render_chat(QUESTION), params, share=ALICE)
    events = iter(handle)
    assert isinstance(next(events), Delta)
    handle.abort()
    handle.abort()
    rest = list(events)
    assert [event.reason for event in rest if isinstance(event, Finished)] == ["aborted"]
    _until(lambda: engine.metrics()['request_success_total{finished_reason="abort"}'] == aborted + 1)
    assert engine.metrics()["num_requests_running"] == 0


def test_refusals_are_raised_by_submit_as_in_process(remote: RemoteGenerator) -> None:
    with pytest.raises(PromptTooLong):
        remote.submit(PromptTokens((5,) * 2_000), SamplingParams(), share=ALICE)
    with pytest.raises(InvalidRequest):
        remote.submit(PromptTokens((5, 6)), SamplingParams(temperature=-1.0), share=ALICE)


def test_stopping_ends_what_is_under_way(url: str) -> None:
    remote = RemoteGenerator.connect(Remote("r", url, api_key=KEY))
    params = SamplingParams(max_tokens=900, ignore_eos=True)
    handle = remote.submit(remote.render_chat(QUESTION), params, share=ALICE)
    remote.stop()
    remote.stop()
    finished = handle.result(10)[1]
    assert finished.reason == "error"
    assert isinstance(finished.error, EngineStopped)
    with pytest.raises(EngineStopped):
        remote.submit(PromptTokens((5, 6)), SamplingParams(), share=ALICE)


def test_vectors_and_counts_are_the_same_near_and_far(
    url: str, embedder: SentenceTransformerEmbedder
) -> None:
    remote = RemoteEmbedder(Remote("r", url, api_key=KEY))
    texts = [f"passage {i} " * (i % 9 + 1) for i in range(40)]
    seen: list[int] = []
    np.testing.assert_allclose(
        remote.embed_passages(texts, on_batch=seen.append), embedder.embed_passages(texts), atol=1e-5
    )
    assert seen == [32, 40]
    np.testing.assert_allclose(remote.embed_query("hello"), embedder.embed_query("hello"), atol=1e-6)
    assert (remote.name, remote.dimension, remote.max_tokens) == ("all-MiniLM-L6-v2", 384, 256)
    assert remote.count_tokens(texts[5]) == embedder.count_tokens(texts[5])


def test_metrics_arrive_under_their_names(engine: Engine, remote: RemoteGenerator) -> None:
    _until(lambda: engine.metrics()["num_requests_running"] == 0)
    far, near = remote.metrics(), engine.metrics()
    assert {name for name in far if not name.startswith("remote_")} == set(near)
    assert far["generation_tokens_total"] == near["generation_tokens_total"] > 0


def test_nobody_without_the_key_is_served(url: str) -> None:
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {KEY}"}):
        with httpx.Client(base_url=url, headers=headers) as client:
            for method, path in (("GET", "/v1/models"), ("GET", "/metrics"), ("POST", "/v1/completions")):
                assert client.request(method, path).status_code == 401
            assert client.get("/nowhere").status_code == 401
            assert client.get("/healthz").status_code == client.get("/readyz").status_code == 200
    with pytest.raises(InferenceError):
        RemoteGenerator.connect(Remote("r", url, api_key="wrong"))


def test_the_service_does_not_start_without_a_key() -> None:
    with pytest.raises(InvalidRequest):
        create_app(Runtime(), "")


def test_a_client_learns_that_the_service_is_loading_or_away() -> None:
    with serving(create_app(Runtime("Loading the model."), KEY)) as address:
        with pytest.raises(NotReady, match="Loading the model"):
            RemoteGenerator.connect(Remote("r", address, api_key=KEY))
        assert httpx.get(f"{address}/readyz").status_code == 503
        assert httpx.get(f"{address}/healthz").status_code == 200
    with pytest.raises(NotReady):
        RemoteGenerator.connect(Remote("r", address, api_key=KEY))


def test_a_server_that_might_mix_organisations_is_refused(checkpoint: Checkpoint) -> None:
    known: dict[str, Any] = {"model": "m", "max_model_len": 10, "server": "somebody"}
    with pytest.raises(InvalidRequest, match="control tokens"):
        generator("http://127.0.0.1:1", **known)
    with pytest.raises(InvalidRequest, match="prefix caches"):
        generator("http://127.0.0.1:1", tokenizer=checkpoint.tokenizer, **known)
