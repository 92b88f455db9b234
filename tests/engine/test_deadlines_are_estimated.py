"""A request that cannot meet its deadline is refused at once; one that can is not, and meets it.

The engine runs on a clock that its steps move by a cost model, so that the truth is known: each request is first run
without a deadline, and then asked again with less and with more time than it took.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from inference.engine.engine import Engine
from inference.errors import DeadlineExceeded
from inference.request import PromptTokens
from inference.scheduling.admission import QueueGate
from tests.engine.tiny import ACME, EOS, GLOBEX, TinyCheckpoint, drive, greedy, make_config, waiting


class World:
    """An engine with a clock, which has learned its speed."""

    def __init__(self, llama: TinyCheckpoint) -> None:
        self.now = 0.0
        self.engine = Engine(
            make_config(max_running_requests=4, prefix_caching=False), llama, clock=lambda: self.now
        )
        execute = self.engine._runner.execute

        def costly(step: Any) -> Any:
            self.now += 0.004 + 0.0005 * sum(step.values())
            return execute(step)

        self.engine._runner.execute = costly  # type: ignore[method-assign]
        for _ in range(3):
            self.send(200, 20)
            drive(self.engine)

    def send(self, prompt: int, output: int, *, share: Any = ACME, deadline_s: float | None = None) -> Any:
        tokens = PromptTokens(tuple(range(prompt % EOS)) + (7,) * (prompt - prompt % EOS))
        return self.engine.submit(tokens, greedy(output), share=share, deadline_s=deadline_s)

    def took_s(self, handle: Any) -> float:
        drive(self.engine)
        end = handle.result(0)[1]
        assert end.reason == "length", end
        return float(end.usage.total_s)


def nobody(world: World) -> None:
    pass


def own_queue(world: World) -> None:
    for _ in range(20):
        world.send(150, 10)


def queue_of_two_shares(world: World) -> None:
    for _ in range(8):
        world.send(150, 10)
        world.send(150, 10, share=GLOBEX)


@pytest.mark.parametrize(
    ("prompt", "output", "before"),
    [
        (450, 2, nobody),
        (3, 90, nobody),
        (300, 60, nobody),
        (100, 30, own_queue),
        (100, 30, queue_of_two_shares),
    ],
    ids=["long prompt", "long output", "both", "behind its own queue", "between shares"],
)
def test_the_estimate_is_near_the_truth(
    llama: TinyCheckpoint, prompt: int, output: int, before: Callable[[World], None]
) -> None:
    world = World(llama)
    before(world)
    truth_s = world.took_s(world.send(prompt, output))
    for part in (0.3, 0.6):
        world = World(llama)
        before(world)
        with pytest.raises(DeadlineExceeded, match="would take about"):
            world.send(prompt, output, deadline_s=part * truth_s)
    for part in (1.5, 3.0):
        world = World(llama)
        before(world)
        assert world.took_s(world.send(prompt, output, deadline_s=part * truth_s)) <= part * truth_s


def test_the_flood_of_another_share_is_not_in_the_way(llama: TinyCheckpoint) -> None:
    world = World(llama)
    for _ in range(20):
        world.send(150, 10)
    for _ in range(3):
        world.engine.step()
    assert world.took_s(world.send(100, 5, share=GLOBEX, deadline_s=0.6)) < 0.6


def test_outputs_that_end_early_are_learned(llama: TinyCheckpoint) -> None:
    gate = QueueGate(max_requests=100, max_tokens=100_000)
    gate.observe(tokens=1000, seconds=1.0)
    gate.observe(tokens=1, seconds=0.01, decoding=True)
    with pytest.raises(DeadlineExceeded):
        gate.enter(waiting(ACME, 100, 1000), deadline_s=5)
    for _ in range(100):
        gate.observe_end(0.2)
    gate.enter(waiting(ACME, 100, 1000), deadline_s=5)


def test_before_the_first_step_nobody_is_refused_but_for_no_time_at_all() -> None:
    gate = QueueGate(max_requests=100, max_tokens=200_000)
    gate.enter(waiting(ACME, 49_990, 10), deadline_s=0.1)
    with pytest.raises(DeadlineExceeded):
        gate.enter(waiting(ACME, 10), deadline_s=0)
