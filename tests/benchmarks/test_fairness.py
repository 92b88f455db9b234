from __future__ import annotations

from typing import Any

import pytest

from benchmarks import fairness
from benchmarks.fairness import A, B, Run, verdict
from inference.engine.engine import Engine
from tests.engine.tiny import make_checkpoint, make_config


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = make_checkpoint("llama")
    start = Engine.start
    settings = make_config(max_running_requests=4, max_queued_requests=100)
    monkeypatch.setattr(fairness, "config", lambda **_: settings)
    monkeypatch.setattr(Engine, "start", lambda settings: start(settings, checkpoint))
    monkeypatch.setattr(
        fairness, "_tokens", lambda chance, count: [chance.randrange(190) for _ in range(count)]
    )


def measure(name: str, flood: int, asked: int, **settings: Any) -> dict[str, Any]:
    keep_up = settings.pop("keep_up", False)
    return Run(name, scale=32, **settings).measure(flood, asked, keep_up=keep_up)


def test_every_way_does_the_work_that_it_says(tiny: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fairness, "FLOOD", 12)
    runs = [measure("B alone", 0, 3), measure("fair", 12, 3), measure("first come", 12, 3, b=A)]
    assert [len(run["b_first_tokens_s"]) for run in runs] == [3, 3, 3]
    assert runs[0]["b_sent_during_the_flood"] == 0
    assert runs[1]["tokens"] == runs[2]["tokens"] > 10 * runs[0]["tokens"] / 3
    assert verdict(runs).keys() == {"b_p95_fair_over_alone", "throughput_fair_over_first_come"}
    kept_up = measure("control", 12, 2, b=A, keep_up=True)
    assert kept_up["b_sent_during_the_flood"] >= 1
    assert kept_up["tokens"] >= runs[2]["tokens"] - runs[0]["tokens"]


def test_b_is_its_own_share_unless_first_come_is_asked_for(tiny: None) -> None:
    run = Run("fair", scale=32)
    run.measure(0, 1)
    assert set(run._engine._scheduler.waiting.served) == {A.key, B.key}
