"""The watchdog: requests that wait while nothing advances are seen in the metrics and said in the log."""

from __future__ import annotations

import logging

import pytest

from inference.engine.engine import STALL_WARNING_S, Engine
from tests.engine.tiny import TinyCheckpoint, drive, make_config, make_prompts, submit

PROMPT = make_prompts(1)[0]


def test_waiting_without_progress_is_counted_and_said(
    llama: TinyCheckpoint, caplog: pytest.LogCaptureFixture
) -> None:
    now = [0.0]
    engine = Engine(make_config(), llama, clock=lambda: now[0])
    now[0] += 100
    assert engine.metrics()["seconds_without_progress"] == 0, "an idle engine stalls"
    submit(engine, PROMPT)
    schedule = engine._scheduler.schedule
    engine._scheduler.schedule = lambda now=0.0: {}  # type: ignore[method-assign]
    engine._progress_at = now[0]
    with caplog.at_level(logging.ERROR):
        for waited_s in (
            0.0,
            STALL_WARNING_S - 1,
            STALL_WARNING_S + 1,
            2 * STALL_WARNING_S,
            3 * STALL_WARNING_S,
        ):
            now[0] = 100 + waited_s
            assert not engine.step()
            engine._wait_for_work()
            assert engine.metrics()["seconds_without_progress"] == waited_s
    assert [record.message for record in caplog.records] == [
        "1 requests are waiting and nothing advances"
    ] * 2, "not once for each ten seconds"
    engine._scheduler.schedule = schedule  # type: ignore[method-assign]
    drive(engine)
    assert engine.metrics()["seconds_without_progress"] == 0
