from __future__ import annotations

from dataclasses import replace
from itertools import count
from typing import Any

import pytest

from benchmarks import soak
from benchmarks.soak import Sample, Soak, findings
from inference.engine.engine import Engine
from tests.engine.tiny import make_checkpoint, make_config

QUIET = Sample(
    at_s=0.0, rss_mib=500.0, files=6, threads=8, waiting=0, running=0, kv_blocks_used=0, finished=3
)
LIMITS: dict[str, Any] = {"kv_cache_tokens": 1024, "max_running_requests": 8, "max_queued_requests": 12}


def run(seconds: float = 2.0) -> dict[str, Any]:
    return Soak(make_config(**LIMITS), make_checkpoint("llama"), longest=80, sample_s=0.2).run(seconds)


def test_a_sound_engine_has_no_findings_under_all_kinds_of_traffic() -> None:
    result = run()
    assert result["findings"] == []
    assert result["canary_runs"] >= 4
    traffic = result["traffic"]
    assert {"accepted", "ended: length", "ended: aborted"} <= traffic.keys()
    ends = sum(count for name, count in traffic.items() if name.startswith("ended"))
    assert ends == traffic["accepted"]
    assert len(result["samples"]) >= 2


def test_requests_that_are_kept_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = []
    end = Engine._end

    def keeping(self: Any, request: Any, *args: Any) -> None:
        kept.append(request)
        end(self, request, *args)

    monkeypatch.setattr(Engine, "_end", keeping)
    assert any("are still alive" in finding for finding in run(0.5)["findings"])


def test_a_changed_output_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    outputs = map(str, count())
    monkeypatch.setattr(Soak, "_finish", lambda *_: next(outputs))
    assert any("canary changed" in finding for finding in run(0.5)["findings"])


@pytest.mark.parametrize(
    ("change", "finding"),
    [
        ({"files": 7}, "6 files became 7"),
        ({"threads": 9}, "8 threads became 9"),
        ({"kv_blocks_used": 1}, "still held"),
        ({"waiting": 1}, "still held"),
    ],
)
def test_what_is_left_over_is_found(change: dict[str, int], finding: str) -> None:
    assert findings(QUIET, [QUIET] * 20, QUIET) == []
    (found,) = findings(QUIET, [QUIET] * 20, replace(QUIET, **change))
    assert finding in found


def test_growing_memory_is_found_and_a_warm_start_is_not() -> None:
    warming = [replace(QUIET, rss_mib=400.0 + min(100, 20 * index)) for index in range(40)]
    assert findings(QUIET, warming, QUIET) == []
    leaking = [replace(QUIET, rss_mib=500.0 + index) for index in range(40)]
    assert findings(QUIET, leaking, QUIET) == ["memory grew by 3.9 %"]
    assert soak.MEMORY_GROWTH == 0.02
