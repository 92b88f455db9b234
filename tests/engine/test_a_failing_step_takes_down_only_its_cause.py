"""A computation that fails: the rest goes on, what failed is told, and a dead device ends the engine."""

from __future__ import annotations

from typing import Any

import pytest

from inference.engine.computation import DEAD_AFTER_S, MAX_DEAD_STEPS
from inference.engine.engine import Engine
from inference.request import PromptTokens
from tests.engine.tiny import TinyCheckpoint, drive, greedy, make_config, make_prompts, run, submit, tokens_of

PROMPTS = make_prompts(4, longest=40)


class Trouble:
    """Stands before a runner and raises when ``when(step)`` says so."""

    def __init__(self, engine: Engine, when: Any) -> None:
        self.calls = 0
        self._when = when
        self._execute = engine._runner.execute
        engine._runner.execute = self  # type: ignore[method-assign]

    def __call__(self, step: Any) -> Any:
        self.calls += 1
        if self._when(self, step):
            raise MemoryError("no memory for a step")
        return self._execute(step)


@pytest.fixture
def wanted(llama: TinyCheckpoint) -> list[list[int]]:
    return run(Engine(make_config(), llama), PROMPTS)


def test_a_request_that_cannot_be_computed_fails_alone(
    llama: TinyCheckpoint, wanted: list[list[int]]
) -> None:
    engine = Engine(make_config(), llama)
    handles = [submit(engine, prompt) for prompt in PROMPTS]
    bad = handles[2].request_id
    Trouble(engine, lambda _, step: any(sequence.request_id == bad for sequence in step))
    drive(engine)
    end = handles[2].result(0)[1]
    assert end.reason == "error"
    assert end.error is not None
    assert "no memory" not in str(end.error)
    for index in (0, 1, 3):
        assert tokens_of(handles[index]) == wanted[index]


def test_a_failure_that_passes_costs_nobody_anything(llama: TinyCheckpoint, wanted: list[list[int]]) -> None:
    engine = Engine(make_config(), llama)
    handles = [submit(engine, prompt) for prompt in PROMPTS]
    trouble = Trouble(engine, lambda self, _: self.calls in (1, 7, 20))
    drive(engine)
    assert trouble.calls > 20
    assert [tokens_of(handle) for handle in handles] == wanted


def test_a_step_too_large_for_memory_is_computed_in_parts(
    llama: TinyCheckpoint, wanted: list[list[int]]
) -> None:
    engine = Engine(make_config(), llama)
    handles = [submit(engine, prompt) for prompt in PROMPTS]
    Trouble(engine, lambda _, step: len(step) > 1)
    drive(engine)
    assert [tokens_of(handle) for handle in handles] == wanted


def fail_for(engine: Engine, now: list[float], steps: int, pause_s: float) -> None:
    """Sends one request a step, each of which must fail alone."""
    for _ in range(steps):
        handle = submit(engine, PROMPTS[0], greedy(4))
        engine.step()
        assert handle.result(0)[1].reason == "error"
        now[0] += pause_s


def test_a_request_sent_again_and_again_does_not_end_the_engine(llama: TinyCheckpoint) -> None:
    now = [0.0]
    engine = Engine(make_config(), llama, clock=lambda: now[0])
    bad = PROMPTS[0].token_ids[0]
    Trouble(engine, lambda _, step: any(sequence.token_ids[0] == bad for sequence in step))
    fail_for(engine, now, steps=5 * MAX_DEAD_STEPS, pause_s=1.0)
    good = submit(engine, PromptTokens((bad + 1, 2, 3)), greedy(4))
    drive(engine)
    assert good.result(0)[1].reason == "length"
    now[0] += DEAD_AFTER_S
    fail_for(engine, now, steps=MAX_DEAD_STEPS, pause_s=1.0)


def test_when_nothing_works_for_long_the_engine_ends(llama: TinyCheckpoint) -> None:
    now = [0.0]
    engine = Engine(make_config(), llama, clock=lambda: now[0])
    Trouble(engine, lambda *_: True)
    fail_for(engine, now, steps=MAX_DEAD_STEPS - 1, pause_s=DEAD_AFTER_S / (MAX_DEAD_STEPS - 1))
    submit(engine, PROMPTS[0], greedy(4))
    with pytest.raises(MemoryError):
        engine.step()
