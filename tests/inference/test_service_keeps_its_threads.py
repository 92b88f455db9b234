"""Passages of an ingestion neither hold up a question nor are computed for nobody; odd JSON is refused, not a fault."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import cast

import httpx
import numpy as np
import pytest
from tokenizers import Tokenizer

from inference.embedder import Vectors
from inference.request import TextGenerator
from inference.runtime import Runtime
from inference.service import BATCH_THREADS, create_app
from tests.inference.test_remote_equals_in_process import serving

KEY = "a-key-for-tests"
BATCHES = 24


class GatedEmbedder:
    """Ones for every text; passages wait until the gate opens, in batches of one text."""

    name, dimension, max_tokens = "gated", 3, 8

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.begun = 0
        self.computed = 0

    def embed_query(self, text: str) -> Vectors:
        return np.ones(self.dimension, dtype=np.float32)

    def embed_passages(
        self, texts: Sequence[str], *, on_batch: Callable[[int], None] | None = None
    ) -> Vectors:
        self.begun += 1
        assert self.gate.wait(30)
        for done in range(1, len(texts) + 1):
            self.computed += 1
            if on_batch is not None:
                on_batch(done)
        return np.ones((len(texts), self.dimension), dtype=np.float32)

    def count_tokens(self, text: str) -> int:
        return 1

    @property
    def tokenizer(self) -> Tokenizer:
        raise NotImplementedError


class Unasked:
    """A generator that must not be reached: asking it for anything fails, and the request with status 500."""

    health = "ok"

    def token_bytes(self, token_id: int) -> bytes:
        return b""

    def submit(self, *args: object, **more: object) -> None:
        raise AssertionError("a request that should be refused was submitted")

    def stop(self) -> None:
        """Nothing runs here."""


@pytest.fixture
def embedder() -> GatedEmbedder:
    return GatedEmbedder()


@pytest.fixture
def client(embedder: GatedEmbedder) -> Iterator[httpx.Client]:
    with serving(create_app(Runtime.of(cast(TextGenerator, Unasked()), embedder), KEY)) as url:
        headers = {"Authorization": f"Bearer {KEY}"}
        limits = httpx.Limits(max_connections=100)
        with httpx.Client(base_url=url, headers=headers, limits=limits, timeout=20) as client:
            yield client
        embedder.gate.set()


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 15
    while not condition():
        assert time.monotonic() < end, "did not happen within 15 s"
        time.sleep(0.02)


def embed(client: httpx.Client, kind: str, timeout_s: float = 20) -> httpx.Response:
    body = {"input": ["a", "b", "c"], "input_type": kind}
    return client.post("/v1/embeddings", json=body, timeout=timeout_s)


def test_a_question_does_not_wait_for_a_thread_behind_passages(
    client: httpx.Client, embedder: GatedEmbedder
) -> None:
    with ThreadPoolExecutor(BATCHES) as pool:
        batches = [pool.submit(embed, client, "passage") for _ in range(BATCHES)]
        try:
            until(lambda: embedder.begun >= BATCH_THREADS)
            time.sleep(0.3)
            assert embed(client, "query", timeout_s=5).status_code == 200
            assert not any(batch.done() for batch in batches)
        finally:
            embedder.gate.set()
        assert {batch.result().status_code for batch in batches} == {200}
    assert embedder.computed == 3 * BATCHES


def test_nothing_is_computed_for_clients_that_went_away(
    client: httpx.Client, embedder: GatedEmbedder
) -> None:
    def leave() -> None:
        with pytest.raises(httpx.ReadTimeout):
            embed(client, "passage", timeout_s=0.5)

    with ThreadPoolExecutor(BATCHES) as pool:
        for left in [pool.submit(leave) for _ in range(BATCHES)]:
            left.result()
    time.sleep(0.3)
    embedder.gate.set()
    assert embed(client, "passage").status_code == 200
    assert embedder.computed <= 3 + BATCH_THREADS, "at most one batch of those that had begun, and ours"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/embeddings", b'{"input": "half a \\ud800 character"}'),
        ("/v1/completions", b'{"prompt": [1], "temperature": 1' + b"0" * 400 + b"}"),
        ("/v1/chat/completions", b'{"messages": [{"role": "user", "content": "\\udfff"}]}'),
        ("/tokenize", b'{"messages": [{"role": "user", "content": [{"text": "\\udfff"}]}]}'),
        ("/v1/completions", b'{"prompt": ' + b"[" * 100_000),
    ],
    ids=["half a character", "no float", "chat", "parts", "nested"],
)
def test_json_that_python_reads_and_nobody_can_use_is_refused(
    client: httpx.Client, path: str, body: bytes
) -> None:
    answer = client.post(path, content=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_request")
