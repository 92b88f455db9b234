from __future__ import annotations

from dataclasses import replace

import pytest

from inference.engine.engine import Engine
from inference.errors import InferenceError, InvalidRequest, Overloaded, PromptTooLong
from inference.request import PromptTokens, SamplingParams, Share
from inference.scheduling.admission import QueueGate
from tests.engine.tiny import (
    ACME,
    GLOBEX,
    VOCAB,
    TinyCheckpoint,
    drive,
    greedy,
    make_config,
    run,
    submit,
    waiting,
)

SHORT = PromptTokens((1, 2, 3))


@pytest.fixture(scope="module")
def engine(llama: TinyCheckpoint) -> Engine:
    return Engine(make_config(max_model_len=100), llama)


@pytest.mark.parametrize(
    ("prompt", "params", "error"),
    [
        (PromptTokens(()), greedy(), InvalidRequest),
        (PromptTokens((VOCAB,)), greedy(), InvalidRequest),
        (PromptTokens((-1,)), greedy(), InvalidRequest),
        (PromptTokens((1,), public_prefix=2), greedy(), InvalidRequest),
        (SHORT, greedy(0), InvalidRequest),
        (SHORT, greedy(temperature=-0.1), InvalidRequest),
        (SHORT, greedy(temperature=float("nan")), InvalidRequest),
        (SHORT, greedy(top_p=0.0), InvalidRequest),
        (SHORT, greedy(top_k=-2), InvalidRequest),
        (SHORT, greedy(stop=("",)), InvalidRequest),
        (SHORT, greedy(98), PromptTooLong),
        (PromptTokens((1,) * 100), greedy(1), PromptTooLong),
    ],
)
def test_what_can_never_run_is_refused(
    engine: Engine, prompt: PromptTokens, params: SamplingParams, error: type[InferenceError]
) -> None:
    with pytest.raises(error):
        submit(engine, prompt, params)
    assert not engine.has_work


@pytest.mark.parametrize("weight", [0.0, -1.0, float("inf")])
def test_a_share_without_a_proper_weight_is_refused(engine: Engine, weight: float) -> None:
    with pytest.raises(InvalidRequest):
        submit(engine, SHORT, share=replace(ACME, weight=weight))


def test_the_longest_request_that_fits_runs_to_its_end(llama: TinyCheckpoint) -> None:
    engine = Engine(make_config(kv_cache_tokens=64), llama)
    prompt = PromptTokens(tuple(range(34)))
    assert len(run(engine, [prompt], greedy(30))[0]) == 30
    with pytest.raises(PromptTooLong):
        submit(engine, prompt, greedy(31))


def test_a_share_fills_at_most_half_of_the_queue(llama: TinyCheckpoint) -> None:
    engine = Engine(make_config(max_queued_requests=8), llama)
    for _ in range(4):
        submit(engine, SHORT, share=ACME)
    with pytest.raises(Overloaded, match="Your part of the queue"):
        submit(engine, SHORT, share=ACME)
    for _ in range(4):
        submit(engine, SHORT, share=GLOBEX)
    with pytest.raises(Overloaded, match="The queue is full") as refusal:
        submit(engine, SHORT, share=Share("initech"))
    assert refusal.value.retry_after_s >= 1
    assert engine.metrics()["num_requests_waiting"] == 8
    drive(engine)
    assert engine.metrics()["e2e_request_latency_seconds_count"] == 8
    submit(engine, SHORT, share=ACME)


def test_the_queue_is_bounded_in_tokens() -> None:
    gate = QueueGate(max_requests=100, max_tokens=1000)
    first = waiting(ACME, 400)
    gate.enter(first)
    with pytest.raises(Overloaded, match="Your part"):
        gate.enter(waiting(ACME, 200))
    gate.enter(waiting(GLOBEX, 500))
    with pytest.raises(Overloaded, match="The queue is full"):
        gate.enter(waiting(Share("initech"), 200))
    assert gate.leave(first)
    assert not gate.leave(first), "counted out twice"
    gate.enter(waiting(Share("initech"), 200))


def test_an_aborted_request_leaves_the_queue(llama: TinyCheckpoint) -> None:
    engine = Engine(make_config(max_queued_requests=2), llama)
    handle = submit(engine, SHORT)
    with pytest.raises(Overloaded):
        submit(engine, SHORT)
    handle.abort()
    engine.step()
    assert submit(engine, SHORT)


def test_limits_that_contradict_each_other_are_refused(llama: TinyCheckpoint) -> None:
    with pytest.raises(InvalidRequest, match="max_batched_tokens"):
        Engine(make_config(max_batched_tokens=8), llama)
    with pytest.raises(InvalidRequest, match="kv_cache_tokens"):
        Engine(make_config(kv_cache_tokens=8), llama)
