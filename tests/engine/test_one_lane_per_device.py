from __future__ import annotations

import threading
import time

import pytest

from inference.lane import ComputeLane, LanePriority


class Traffic:
    """Threads that queue for a lane behind one that holds it."""

    def __init__(self, lane: ComputeLane) -> None:
        self.lane = lane
        self.order: list[str] = []
        self._threads: list[threading.Thread] = []
        self._release = threading.Event()
        self.at_once = 0
        self.most_at_once = 0
        self._start("holder", LanePriority.ENGINE, self._release.wait)

    def add(self, name: str, priority: LanePriority) -> None:
        self._start(name, priority, lambda: time.sleep(0.002))

    def finish(self) -> list[str]:
        self._release.set()
        for thread in self._threads:
            thread.join(10)
        return self.order

    def _start(self, name: str, priority: LanePriority, work: object) -> None:
        def body() -> None:
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
            self.order.append(name)
            work()  # type: ignore[operator]
            self.at_once -= 1

        known = len(self.lane._waiting) + len(self.order)
        thread = threading.Thread(target=self.lane.run, args=(priority, body))
        thread.start()
        self._threads.append(thread)
        while len(self.lane._waiting) + len(self.order) <= known:
            time.sleep(0.001)


def test_higher_classes_go_first_and_equals_in_order() -> None:
    traffic = Traffic(ComputeLane())
    traffic.add("batch", LanePriority.BATCH)
    traffic.add("engine 1", LanePriority.ENGINE)
    traffic.add("query 1", LanePriority.INTERACTIVE)
    traffic.add("engine 2", LanePriority.ENGINE)
    traffic.add("query 2", LanePriority.INTERACTIVE)
    assert traffic.finish() == ["holder", "query 1", "query 2", "engine 1", "engine 2", "batch"]
    assert traffic.most_at_once == 1


def test_batch_work_that_waited_long_enough_goes_before_the_engine_but_not_before_a_query() -> None:
    traffic = Traffic(ComputeLane(patience_s=0.05))
    traffic.add("batch", LanePriority.BATCH)
    traffic.add("engine", LanePriority.ENGINE)
    traffic.add("query", LanePriority.INTERACTIVE)
    time.sleep(0.08)
    assert traffic.finish() == ["holder", "query", "batch", "engine"]


def test_batch_work_lets_a_busy_engine_come_back() -> None:
    lane = ComputeLane(patience_s=5)
    order: list[str] = []
    lane.run(LanePriority.ENGINE, lambda: order.append("step"))
    batch = threading.Thread(target=lane.run, args=(LanePriority.BATCH, lambda: order.append("batch")))
    batch.start()
    for _ in range(5):
        lane.run(LanePriority.ENGINE, lambda: order.append("step"))
    batch.join(10)
    assert order == ["step"] * 6 + ["batch"]


def test_a_failure_passes_through_and_frees_the_lane() -> None:
    lane = ComputeLane()

    def fail() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        lane.run(LanePriority.ENGINE, fail)
    assert lane.run(LanePriority.BATCH, lambda: 7) == 7


def test_work_in_the_lane_may_use_the_lane() -> None:
    lane = ComputeLane()
    assert lane.run(LanePriority.ENGINE, lambda: lane.run(LanePriority.BATCH, lambda: 3)) == 3
