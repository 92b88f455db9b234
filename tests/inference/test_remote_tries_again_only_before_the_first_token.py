"""What failed in passing is asked for again a few times, and never once a piece of the answer was delivered."""

from __future__ import annotations

import threading
import time
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from inference.engine.remote import attempts
from inference.engine.remote.breaker import CircuitBreaker
from inference.errors import (
    DeadlineExceeded,
    EngineStopped,
    InferenceError,
    InvalidRequest,
    NotReady,
    Overloaded,
)
from inference.request import Delta, Finished, SamplingParams
from tests.inference.scripted_server import ALICE, PROMPT, WHOLE, answering, begin, frame, letters

FOREIGN: dict[str, Any] = {"server": "vllm", "tokenizer": letters()}


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "PAUSE_S", 0.01)


class Replies:
    """Answers with each status in turn, then whole."""

    def __init__(self, *statuses: int, **headers: str) -> None:
        self._statuses, self._headers = list(statuses), headers

    def __call__(self, request: BaseHTTPRequestHandler) -> None:
        status = self._statuses.pop(0) if self._statuses else 200
        begin(request, status, **(self._headers if status != 200 else {}))
        request.wfile.write(WHOLE if status == 200 else b"{}")


@pytest.mark.parametrize("foreign", [False, True])
@pytest.mark.parametrize("statuses", [(500, 503), (429,), (408, 502)])
def test_a_failure_that_passes_is_not_seen(foreign: bool, statuses: tuple[int, ...]) -> None:
    with answering(Replies(*statuses), status=None, **(FOREIGN if foreign else {})) as (remote, asked):
        text, end = remote.submit(PROMPT, SamplingParams(), share=ALICE).result(10)
        retries = [value for name, value in remote.metrics().items() if "retries" in name] if foreign else []
    assert (text, end.reason, end.error) == ("whole", "stop", None)
    assert len(asked) == len(statuses) + 1
    assert retries == [len(statuses)] * foreign


def test_three_tries_are_the_most() -> None:
    with answering(Replies(*[500] * 9), status=None, **FOREIGN) as (remote, asked):
        end = remote.submit(PROMPT, SamplingParams(), share=ALICE).result(10)[1]
    assert isinstance(end.error, NotReady)
    assert len(asked) == 3


@pytest.mark.parametrize(("status", "kind"), [(400, InvalidRequest), (401, InferenceError)])
def test_a_refusal_is_final(status: int, kind: type[InferenceError]) -> None:
    with answering(Replies(status), status=None, **FOREIGN) as (remote, asked):
        end = remote.submit(PROMPT, SamplingParams(), share=ALICE).result(10)[1]
    assert isinstance(end.error, kind)
    assert len(asked) == 1


def test_a_server_that_asks_for_much_patience_is_not_asked_again() -> None:
    with answering(Replies(429, retry_after="40"), status=None, **FOREIGN) as (remote, asked):
        end = remote.submit(PROMPT, SamplingParams(), share=ALICE).result(10)[1]
    assert isinstance(end.error, Overloaded)
    assert end.error.retry_after_s == 40
    assert len(asked) == 1


@pytest.mark.parametrize("foreign", [False, True])
def test_a_stream_that_breaks_after_its_first_token_is_not_begun_again(foreign: bool) -> None:
    def break_off(request: BaseHTTPRequestHandler) -> None:
        request.wfile.write(frame("begun"))

    with answering(break_off, **(FOREIGN if foreign else {})) as (remote, asked):
        *deltas, end = list(remote.submit(PROMPT, SamplingParams(), share=ALICE))
    assert [event.text for event in deltas if isinstance(event, Delta)] == ["begun"]
    assert isinstance(end, Finished)
    assert end.reason == "error"
    assert end.usage.completion_tokens == 1
    assert len(asked) == 1


def test_a_refusal_without_end_is_cut_off() -> None:
    def refuse_for_ever(request: BaseHTTPRequestHandler) -> None:
        begin(request, 400)
        while True:
            request.wfile.write(b"x" * 4096)

    with answering(refuse_for_ever, status=None, **FOREIGN) as (remote, _):
        end = remote.submit(PROMPT, SamplingParams(), share=ALICE).result(10)[1]
    assert isinstance(end.error, InvalidRequest)


@pytest.mark.parametrize("first", [b"", frame("begun")], ids=["before", "after"])
def test_a_server_that_falls_silent_is_given_up(first: bytes) -> None:
    """Comments are no sign of work of a server that is not ours."""
    over = threading.Event()

    def fall_silent(request: BaseHTTPRequestHandler) -> None:
        request.wfile.write(first)
        while not over.wait(0.05):
            request.wfile.write(b": ping\n\n")

    with answering(fall_silent, token_timeout_s=0.3, **FOREIGN) as (remote, asked):
        end = remote.submit(PROMPT, SamplingParams(), share=ALICE).result(30)[1]
        over.set()
    assert isinstance(end.error, EngineStopped)
    assert len(asked) == (1 if first else attempts.TRIES)


def test_a_deadline_ends_also_what_is_tried_again() -> None:
    with answering(Replies(*[503] * 9, retry_after="4"), status=None, **FOREIGN) as (remote, _):
        end = remote.submit(PROMPT, SamplingParams(), share=ALICE, deadline_s=0.5).result(10)[1]
    assert isinstance(end.error, DeadlineExceeded)


def test_output_without_end_is_cut_off() -> None:
    def go_on(request: BaseHTTPRequestHandler) -> None:
        while True:
            request.wfile.write(frame("x"))

    with answering(go_on, **FOREIGN) as (remote, _):
        text, end = remote.submit(PROMPT, SamplingParams(max_tokens=4), share=ALICE).result(20)
    assert end.reason == "length"
    assert len(text) == 4 + attempts.SPARE_DELTAS


def test_a_server_that_fails_alone_is_left_alone_and_asked_again_by_one() -> None:
    now = 0.0
    breaker = CircuitBreaker(failures=3, pause_s=5.0, clock=lambda: now)
    replies = Replies(500, 500, 500)
    with answering(replies, status=None, breaker=breaker, **FOREIGN) as (remote, asked):
        first = remote.submit(PROMPT, SamplingParams(), share=ALICE).result(10)[1]
        assert isinstance(first.error, NotReady)
        states: list[str] = [breaker.state]
        with pytest.raises(Overloaded) as refused:
            remote.submit(PROMPT, SamplingParams(), share=ALICE)
        assert refused.value.retry_after_s == 5
        assert len(asked) == 3
        now = 6.0
        states.append(breaker.state)
        assert remote.submit(PROMPT, SamplingParams(), share=ALICE).result(10)[0] == "whole"
        assert [*states, breaker.state] == ["open", "half_open", "closed"]


def test_a_full_server_is_not_a_failing_one() -> None:
    breaker = CircuitBreaker(failures=1)
    with answering(Replies(429, retry_after="40"), status=None, breaker=breaker, **FOREIGN) as (remote, _):
        remote.submit(PROMPT, SamplingParams(), share=ALICE).result(10)
    assert breaker.state == "closed"


def test_a_probe_that_is_aborted_leaves_its_place() -> None:
    now = 0.0
    breaker = CircuitBreaker(failures=1, pause_s=5.0, clock=lambda: now)
    breaker.failed()
    now = 6.0
    over = threading.Event()

    def silent(request: BaseHTTPRequestHandler) -> None:
        over.wait(20)

    with answering(silent, breaker=breaker, **FOREIGN) as (remote, asked):
        handle = remote.submit(PROMPT, SamplingParams(), share=ALICE)
        until = time.monotonic() + 10
        while not asked and time.monotonic() < until:
            time.sleep(0.01)
        with pytest.raises(Overloaded):
            remote.submit(PROMPT, SamplingParams(), share=ALICE)
        handle.abort()
        assert handle.result(10)[1].reason == "aborted"
        breaker.check()
        over.set()
