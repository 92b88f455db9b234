"""The three ways of batching run the same requests, and the ratios are taken pair by pair."""

from __future__ import annotations

from typing import Any

from benchmarks import batching
from benchmarks.engine.workloads import Request
from inference.engine.engine import Engine
from tests.engine.tiny import TinyCheckpoint, make_config


def test_caps_change_only_the_lengths() -> None:
    short, long = batching.capped(100, 8), batching.capped(100, 384)
    assert [r.prompt_token_ids for r in short] == [r.prompt_token_ids for r in long]
    assert [r.max_tokens for r in short] == [min(8, r.max_tokens) for r in long]
    assert max(r.max_tokens for r in long) > 128
    assert len({tuple(r.prompt_token_ids) for r in long}) == 100


def test_static_batches_compute_until_their_longest_ends(llama: TinyCheckpoint) -> None:
    requests = [Request([5] * 8, length) for length in (2, 6, 3, 1, 4)]
    computed = {}
    for name, way in batching.WAYS.items():
        engine = Engine.start(make_config(max_running_requests=2, prefix_caching=False), llama)
        way(engine, requests, 2)
        metrics = engine.metrics()
        engine.stop()
        computed[name] = (metrics["generation_tokens_total"], metrics["max_decodes_in_a_step"])
    assert computed == {"one by one": (16, 1), "static": (6 * 2 + 3 * 2 + 4, 2), "continuous": (16, 2)}


def test_a_row_has_medians_and_ratios_of_pairs() -> None:
    speeds = {"one by one": (10, 20, 40), "static": (20, 80, 60), "continuous": (40, 100, 120)}
    runs: list[dict[str, Any]] = [
        {"cap": 8, "way": way, "output_tokens_per_s": speed}
        for round_ in range(3)
        for way, speed in ((way, found[round_]) for way, found in speeds.items())
    ]
    (row,) = batching.table(runs)
    assert row == {
        "cap": 8,
        "one by one": 20,
        "static": 60,
        "continuous": 100,
        "continuous_over_one_by_one": 4.0,
        "continuous_over_static": 2.0,
    }
