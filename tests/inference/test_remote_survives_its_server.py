"""A server that hangs or ends, and text that could be taken for the end of a line: no caller waits for ever."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler

import httpcore
import pytest

from inference.errors import EngineStopped, InferenceError
from inference.request import Delta, Finished, SamplingParams
from tests.inference.scripted_server import ALICE, PROMPT, answering, frame, generator


@pytest.mark.parametrize("pieces", [1, 7])
def test_text_with_the_line_ends_of_unicode_arrives_whole(pieces: int) -> None:
    text = "a\u2028b\u2029c\x85d\x0be\u00e9\U0001f600"
    stream = frame(text) + frame("", "stop") + b"data: [DONE]\n\n"

    def write(request: BaseHTTPRequestHandler) -> None:
        size = len(stream) if pieces == 1 else pieces
        for start in range(0, len(stream), size):
            request.wfile.write(stream[start : start + size])
            request.wfile.flush()

    with answering(write) as (remote, _):
        got, end = remote.submit(PROMPT, SamplingParams(), share=ALICE).result(10)
    assert end.reason == "stop"
    assert got == text


def test_a_frame_that_breaks_off_ends_the_request_with_an_error() -> None:
    def write(request: BaseHTTPRequestHandler) -> None:
        request.wfile.write(frame("hello") + frame("cut")[:20])

    with answering(write) as (remote, _):
        events = list(remote.submit(PROMPT, SamplingParams(), share=ALICE))
    assert [event.text for event in events if isinstance(event, Delta)] == ["hello"]
    ends = [event for event in events if isinstance(event, Finished)]
    assert [end.reason for end in ends] == ["error"]
    assert isinstance(ends[0].error, InferenceError)


def test_stopping_ends_calls_that_wait_for_a_server_that_hangs() -> None:
    ends: list[BaseException] = []

    def call(work: Callable[[], object]) -> None:
        try:
            work()
        except BaseException as error:
            ends.append(error)

    with socket.create_server(("127.0.0.1", 0)) as silent:
        remote = generator(f"http://127.0.0.1:{silent.getsockname()[1]}")
        calls = (
            lambda: remote.submit(PROMPT, SamplingParams(), share=ALICE),
            lambda: remote.count_tokens("a"),
            remote.metrics,
        )
        threads = [threading.Thread(target=call, args=(work,), daemon=True) for work in calls]
        for thread in threads:
            thread.start()
        time.sleep(0.3)
        remote.stop()
        for thread in threads:
            thread.join(5)
    assert not any(thread.is_alive() for thread in threads), "a caller waits for a loop that has ended"
    assert [type(end) for end in ends] == [EngineStopped] * 3


def test_a_second_abort_does_not_break_off_the_closing_of_the_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hung_up = threading.Event()

    def write(request: BaseHTTPRequestHandler) -> None:
        request.wfile.write(frame("hello"))
        request.connection.settimeout(10)
        if request.connection.recv(1) == b"":
            hung_up.set()

    closing = httpcore.AsyncHTTP11Connection.aclose

    async def close_slowly(connection: httpcore.AsyncHTTP11Connection) -> None:
        handle._abort(handle.request_id)
        await asyncio.sleep(0.1)
        await closing(connection)

    with answering(write) as (remote, _):
        handle = remote.submit(PROMPT, SamplingParams(), share=ALICE)
        events = iter(handle)
        assert isinstance(next(events), Delta)
        monkeypatch.setattr(httpcore.AsyncHTTP11Connection, "aclose", close_slowly)
        handle.abort()
        assert [event.reason for event in events if isinstance(event, Finished)] == ["aborted"]
        assert hung_up.wait(5), "the server was not told"
