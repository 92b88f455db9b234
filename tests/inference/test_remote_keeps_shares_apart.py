"""Shares meet neither in the cache nor in the queue of a server that knows nothing of them."""

from __future__ import annotations

import threading
import time
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from inference.engine.remote.generator import RemoteGenerator
from inference.errors import InvalidRequest, Overloaded
from inference.request import PromptTokens, SamplingParams, Share
from tests.inference.scripted_server import ALICE, CHARLIE, PROMPT, WHOLE, answering, generator, letters

VLLM: dict[str, Any] = {"server": "vllm", "tokenizer": letters()}


def say_all(request: BaseHTTPRequestHandler) -> None:
    request.wfile.write(WHOLE)


def ask(remote: RemoteGenerator, share: Share = ALICE, **params: Any) -> str:
    text, end = remote.submit(PROMPT, SamplingParams(**params), share=share).result(10)
    assert end.error is None
    return text


def test_vllm_is_sent_the_salt_of_each_share() -> None:
    with answering(say_all, **VLLM) as (remote, asked):
        for share in (ALICE, CHARLIE, ALICE):
            assert ask(remote, share) == "whole"
    assert [body["cache_salt"] for body in asked] == ["61", "63", "61"]
    assert all("share" not in body and "public_prefix" not in body for body in asked)


def test_vllm_is_sent_the_fields_that_a_model_s_own_configuration_would_fill_in() -> None:
    with answering(say_all, **VLLM) as (remote, asked):
        ask(remote)
        ask(remote, top_k=3, repetition_penalty=1.5)
    fields = [(body["top_k"], body["min_p"], body["repetition_penalty"]) for body in asked]
    assert fields == [(0, 0.0, 1.0), (3, 0.0, 1.5)]


def test_llama_cpp_is_told_to_keep_no_prompt() -> None:
    with answering(say_all, server="llamacpp", tokenizer=letters()) as (remote, asked):
        ask(remote, repetition_penalty=1.5)
        with pytest.raises(InvalidRequest, match="stop_token_ids"):
            ask(remote, stop_token_ids=(3,))
    assert asked[0]["cache_prompt"] is False
    assert asked[0]["repeat_penalty"] == 1.5
    assert "repetition_penalty" not in asked[0]


def test_a_stranger_is_refused_unless_its_cache_is_said_to_be_off() -> None:
    stranger: dict[str, Any] = {"model": "m", "max_model_len": 100, "server": "somebody"}
    with pytest.raises(InvalidRequest, match="prefix caches"):
        generator("http://127.0.0.1:1", tokenizer=letters(), **stranger)
    with answering(say_all, server="somebody", tokenizer=letters(), prefix_cache_off=True) as (remote, asked):
        assert ask(remote) == "whole"
        with pytest.raises(InvalidRequest, match="logprobs"):
            ask(remote, logprobs=1)
    assert set(asked[0]) == {
        *("model", "prompt", "stream", "stream_options"),
        *("max_tokens", "temperature", "top_p", "stop"),
    }


class OneAtATime:
    """Answers when it is let; ``order`` names the prompts as they came."""

    def __init__(self) -> None:
        self.order: list[int] = []
        self.go = threading.Semaphore(0)

    def __call__(self, request: BaseHTTPRequestHandler) -> None:
        self.go.acquire(timeout=20)
        request.wfile.write(WHOLE)


def test_a_flood_of_one_share_lets_the_other_in_next() -> None:
    server = OneAtATime()
    with answering(server, max_running=1, **VLLM) as (remote, asked):
        params = SamplingParams(max_tokens=4)
        flood = [remote.submit(PromptTokens((1, i)), params, share=ALICE) for i in range(8)]
        one = remote.submit(PromptTokens((2, 0)), params, share=CHARLIE)
        assert remote.metrics()[f'remote_requests_waiting{{remote="{remote.url}"}}'] == 8
        assert {(row.share, row.phase) for row in remote.live()} >= {("globex", "waiting")}
        for _ in range(9):
            server.go.release()
        for handle in (*flood, one):
            assert handle.result(10)[1].error is None
    order = [body["prompt"] for body in asked]
    assert order.index([2, 0]) <= 2, "the flood went first"
    assert sorted(order) == sorted([[1, i] for i in range(8)] + [[2, 0]])


def test_what_is_aborted_while_it_waits_is_never_sent() -> None:
    server = OneAtATime()
    with answering(server, max_running=1, **VLLM) as (remote, asked):
        first = remote.submit(PROMPT, SamplingParams(), share=ALICE)
        second = remote.submit(PromptTokens((9,)), SamplingParams(), share=ALICE)
        second.abort()
        assert second.result(10)[1].reason == "aborted"
        server.go.release()
        assert first.result(10)[1].reason == "stop"
        _until_idle(remote)
    assert [body["prompt"] for body in asked] == [[5, 6]]


def test_a_share_fills_half_of_the_queue_and_no_more() -> None:
    server = OneAtATime()
    with answering(server, max_running=1, max_queued_requests=4, **VLLM) as (remote, _):
        first = [remote.submit(PROMPT, SamplingParams(), share=ALICE)]
        while remote.metrics()[f'remote_requests_running{{remote="{remote.url}"}}'] == 0:
            time.sleep(0.01)
        first += [remote.submit(PROMPT, SamplingParams(), share=ALICE) for _ in range(2)]
        with pytest.raises(Overloaded, match="Your part"):
            remote.submit(PROMPT, SamplingParams(), share=ALICE)
        first.append(remote.submit(PROMPT, SamplingParams(), share=CHARLIE))
        for _ in first:
            server.go.release()
        for handle in first:
            assert handle.result(10)[1].error is None
        _until_idle(remote)


def _until_idle(remote: RemoteGenerator) -> None:
    until = time.monotonic() + 10
    while remote.live():
        assert time.monotonic() < until, "a request is left"
        time.sleep(0.01)
    values = remote.metrics()
    assert values[f'remote_requests_running{{remote="{remote.url}"}}'] == 0
    assert values[f'remote_requests_waiting{{remote="{remote.url}"}}'] == 0
