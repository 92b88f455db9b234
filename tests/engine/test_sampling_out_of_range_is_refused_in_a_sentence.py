"""One bad request fails alone, before it is accepted, and is told which field was wrong and what it may be."""

from __future__ import annotations

from typing import Any

import pytest

from inference.engine.engine import Engine
from inference.errors import InvalidRequest
from tests.engine.tiny import VOCAB, TinyCheckpoint, drive, greedy, make_config, make_prompts, submit

NAN, INFINITE = float("nan"), float("inf")
LIMITS: dict[str, tuple[list[Any], list[Any], str]] = {
    "max_tokens": ([0, -5], [1], "1 and "),
    "temperature": ([-0.01, NAN, INFINITE, 101], [0, 1e-300, 100], "0 and 100"),
    "top_k": ([-2, 1 << 40], [-1, 0, 10 * VOCAB], "-1 and "),
    "top_p": ([0, -1, 1.01, NAN, INFINITE], [1e-300, 1], "above 0 and at most 1"),
    "min_p": ([-0.01, 1.01, NAN], [0, 1], "0 and 1"),
    "repetition_penalty": ([0, -1, 11, NAN, INFINITE], [0.01, 10], "0.01 and 10"),
    "presence_penalty": ([-2.1, 2.1, NAN, -INFINITE], [-2, 2], "-2 and 2"),
    "frequency_penalty": ([-2.1, 2.1, NAN], [-2, 2], "-2 and 2"),
    "seed": ([1 << 63, -(1 << 63) - 1], [(1 << 63) - 1, -(1 << 63)], str((1 << 63) - 1)),
    "logprobs": ([-1, 21], [0, 20], "0 and 20"),
    "stop": ([("",), ("a",) * 17, ("a" * 257,)], [("a" * 256,) * 16], "at most 16 strings of 1 to 256"),
    "stop_token_ids": ([(-1,), (VOCAB,), (1,) * 129], [(0, VOCAB - 1)], f"between 0 and {VOCAB - 1}"),
}


@pytest.fixture(scope="module")
def engine(llama: TinyCheckpoint) -> Engine:
    return Engine(make_config(), llama)


@pytest.mark.parametrize("field", LIMITS)
def test_a_value_out_of_range_is_refused_and_the_limits_run(engine: Engine, field: str) -> None:
    wrong, right, said = LIMITS[field]
    prompt = make_prompts(1)[0]
    for value in wrong:
        with pytest.raises(InvalidRequest) as refused:
            submit(engine, prompt, greedy(**{"max_tokens": 3, field: value}))
        assert str(refused.value).startswith(f"{field} must ")
        assert said in str(refused.value)
        assert not engine.has_work
    handles = [
        submit(engine, prompt, greedy(**{"max_tokens": 3, "temperature": temperature, field: value}))
        for value in right
        for temperature in (0.0, 1.0)
    ]
    drive(engine)
    assert {handle.result(0)[1].reason for handle in handles} <= {"length", "stop"}
