"""The first backend that takes a request answers it; another one is asked only before the first token."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

import pytest

from inference.engine.handle import RequestHandle
from inference.errors import (
    EngineStopped,
    InferenceError,
    InvalidRequest,
    NotReady,
    Overloaded,
    PromptTooLong,
)
from inference.request import (
    ChatMessage,
    Delta,
    Finished,
    GenerationEvent,
    Health,
    LiveRequest,
    Priority,
    PromptTokens,
    SamplingParams,
    Share,
    Usage,
)
from inference.routed import Backend, RoutedGenerator

ALICE = Share("acme", cache_salt=b"a")
HELLO = [ChatMessage("user", "hello")]
OVER = Overloaded("The queue is full.", retry_after_s=7)


def end(error: InferenceError | None = None) -> Finished:
    return Finished("stop" if error is None else "error", Usage(1, 1), error)


class Double:
    """Takes requests in and answers them with ``events``, or refuses them with ``refusal``. One character is one
    token, of an alphabet that begins at ``first``."""

    def __init__(
        self, *events: GenerationEvent, refusal: InferenceError | None = None, first: int = 0
    ) -> None:
        self.model_name, self.max_model_len = "double", 100
        self.health: Health = "ok"
        self.events, self.refusal, self.first = events, refusal, first
        self.prompts: list[PromptTokens] = []
        self.shares: list[Share] = []
        self.aborted = threading.Event()
        self.stopped = False

    def submit(
        self,
        prompt: PromptTokens,
        params: SamplingParams,
        *,
        share: Share,
        priority: Priority = Priority.INTERACTIVE,
        deadline_s: float | None = None,
    ) -> RequestHandle:
        self.prompts.append(prompt)
        self.shares.append(share)
        if self.refusal is not None:
            raise self.refusal
        handle = RequestHandle(f"r{len(self.prompts)}", lambda _: self.aborted.set())
        handle.deliver(self.events)
        return handle

    def render_chat(self, messages: Sequence[ChatMessage]) -> PromptTokens:
        return PromptTokens(tuple(self.first + ord(char) for message in messages for char in message.content))

    def count_tokens(self, text: str) -> int:
        return len(text)

    def encode(self, text: str) -> list[int]:
        return [self.first + ord(char) for char in text]

    def token_bytes(self, token_id: int) -> bytes:
        return chr(token_id - self.first).encode()

    def live(self) -> list[LiveRequest]:
        return []

    def metrics(self) -> dict[str, float]:
        return {"num_requests_running": 0.0}

    def stop(self) -> None:
        self.stopped = True


def route(*generators: Double | None) -> RoutedGenerator:
    backends = []
    for name, generator in zip("abc", generators, strict=False):
        backend = Backend(name)
        backend.open = generator
        backends.append(backend)
    return RoutedGenerator("answers", backends)


def ask(routed: RoutedGenerator, **params: Any) -> tuple[str, Finished]:
    return routed.submit(routed.render_chat(HELLO), SamplingParams(**params), share=ALICE).result(5)


def answered(routed: RoutedGenerator) -> dict[str, float]:
    values = routed.metrics()
    return {name: values[f'backend_requests_total{{route="answers",backend="{name}"}}'] for name in "ab"}


GOOD = (Delta("go", (1,)), Delta("od", (2,)), end())
FAILURES = [OVER, NotReady("away"), EngineStopped("died"), InferenceError("broken")]


@pytest.mark.parametrize("error", FAILURES, ids=lambda error: error.code)
@pytest.mark.parametrize("refused", [True, False])
def test_the_next_backend_answers_with_its_own_tokens(error: InferenceError, refused: bool) -> None:
    first = Double(refusal=error) if refused else Double(end(error))
    second = Double(*GOOD, first=1000)
    routed = route(first, second)
    assert ask(routed) == ("good", GOOD[-1])
    assert second.prompts == [second.render_chat(HELLO)], "it was sent tokens of another vocabulary"
    assert second.shares == [ALICE]
    assert answered(routed) == {"a": 0.0, "b": 1.0}
    assert (
        routed.metrics()[f'backend_passed_over_total{{route="answers",backend="a",reason="{error.code}"}}']
        == 1.0
    )


def test_a_backend_that_is_not_there_is_passed_over() -> None:
    routed = route(None, Double(*GOOD))
    assert ask(routed)[0] == "good"
    assert routed.metrics()['backend_up{route="answers",backend="a"}'] == 0.0


def test_the_first_backend_answers_while_it_can() -> None:
    routed = route(Double(*GOOD), second := Double(*GOOD))
    assert ask(routed)[0] == "good"
    assert second.prompts == []
    assert answered(routed) == {"a": 1.0, "b": 0.0}


def test_no_other_backend_is_asked_after_the_first_token() -> None:
    second = Double(*GOOD)
    error = EngineStopped("died")
    routed = route(Double(Delta("half", (1,)), end(error)), second)
    events = list(routed.submit(routed.render_chat(HELLO), SamplingParams(), share=ALICE))
    assert events == [Delta("half", (1,)), end(error)]
    assert second.prompts == []


@pytest.mark.parametrize("error", [InvalidRequest("wrong"), PromptTooLong("long")], ids=lambda e: e.code)
def test_what_is_wrong_with_the_request_is_said_at_once(error: InferenceError) -> None:
    second = Double(*GOOD)
    with pytest.raises(type(error)):
        ask(route(Double(refusal=error), second))
    assert ask(route(Double(end(error)), second))[1].error is error
    assert second.prompts == []


def test_when_all_refuse_the_first_refusal_is_the_answer() -> None:
    with pytest.raises(Overloaded) as refused:
        ask(route(Double(refusal=OVER), Double(refusal=NotReady("away"))))
    assert refused.value.retry_after_s == 7
    assert ask(route(Double(end(OVER)), Double(refusal=NotReady("away"))))[1].error is OVER


@pytest.mark.parametrize("params", [{"logprobs": 1}, {"stop_token_ids": (3,)}])
def test_what_names_tokens_by_number_has_no_fallback(params: dict[str, Any]) -> None:
    second = Double(*GOOD)
    routed = route(Double(refusal=OVER), second)
    with pytest.raises(Overloaded):
        ask(routed, **params)
    with pytest.raises(Overloaded):
        routed.submit(PromptTokens((5, 6)), SamplingParams(), share=ALICE)
    assert second.prompts == []


def test_both_kinds_of_reader_see_one_answer() -> None:
    def fresh() -> Any:
        routed = route(Double(end(OVER)), Double(*GOOD))
        return routed.submit(routed.render_chat(HELLO), SamplingParams(), share=ALICE)

    async def read() -> list[GenerationEvent]:
        return [event async for event in fresh()]

    assert list(fresh()) == asyncio.run(read()) == list(GOOD)


def test_an_abort_reaches_the_backend_that_answers() -> None:
    second = Double(Delta("begun", (1,)))
    routed = route(Double(end(OVER)), second)
    handle = routed.submit(routed.render_chat(HELLO), SamplingParams(), share=ALICE)
    events = iter(handle)
    assert next(events) == Delta("begun", (1,))
    handle.abort()
    assert second.aborted.is_set()


def test_a_reader_that_goes_away_aborts() -> None:
    first = Double(Delta("begun", (1,)))
    routed = route(first)
    events = iter(routed.submit(routed.render_chat(HELLO), SamplingParams(), share=ALICE))
    next(events)
    del events
    assert first.aborted.is_set()


def test_what_was_aborted_is_not_asked_of_another() -> None:
    second = Double(*GOOD)
    routed = route(Double(end(EngineStopped("died"))), second)
    handle = routed.submit(routed.render_chat(HELLO), SamplingParams(), share=ALICE)
    handle.abort()
    assert handle.result(5)[1].error is not None
    assert second.prompts == []


def test_stopping_stops_all() -> None:
    doubles = Double(), Double()
    route(*doubles).stop()
    assert [double.stopped for double in doubles] == [True, True]
