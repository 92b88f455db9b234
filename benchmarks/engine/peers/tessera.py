"""Our engine. ``python -m benchmarks.engine.peers.tessera MODEL REQUESTS PRECISION``

``PRECISION+nodrafts`` computes every token in a step of its own, ``PRECISION+kv8`` keeps keys and values in int8.
"""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path
from typing import Any

from benchmarks.engine.record import Timeline, clock, emit, process_age_s, summary
from benchmarks.engine.workloads import read
from inference.config import EngineConfig
from inference.engine.engine import Engine
from inference.engine.handle import RequestHandle
from inference.request import Delta, PromptTokens, SamplingParams, Share

OPTIONS: dict[str, dict[str, Any]] = {
    "nodrafts": {"speculation": 0},
    "kv8": {"kv_cache_format": "int8"},
    "pool32k": {"kv_cache_tokens": 32_768},
}


def main(model: str, file: str, precision: str) -> None:
    weight_format, *options = precision.split("+")
    changes = {key: value for name in options for key, value in OPTIONS[name].items()}
    requests = read(Path(file))
    longest = max(len(r.prompt_token_ids) + r.max_tokens for r in requests)
    engine = Engine.start(
        EngineConfig(
            model_path=Path(model),
            model_name="benchmark",
            weight_format=weight_format,  # type: ignore[arg-type]
            max_model_len=max(2048, longest),
            max_running_requests=64,
            **{"kv_cache_tokens": 65_536, **changes},
        )
    )
    warm = engine.submit(
        PromptTokens((1, 2, 3)), SamplingParams(max_tokens=4, ignore_eos=True), share=Share("warm")
    )
    warm.result(timeout_s=60)
    load_s = process_age_s()
    started = clock()
    timelines: list[Timeline] = []
    readers = []
    for request in sorted(requests, key=lambda r: r.arrival_s):
        time.sleep(max(0.0, started + request.arrival_s - clock()))
        timeline = Timeline(clock())
        handle = engine.submit(
            PromptTokens(tuple(request.prompt_token_ids)),
            SamplingParams(max_tokens=request.max_tokens, ignore_eos=True),
            share=Share(request.tenant, cache_salt=request.tenant.encode()),
        )
        timelines.append(timeline)
        reader = threading.Thread(target=_follow, args=(handle, timeline))
        reader.start()
        readers.append(reader)
    for reader in readers:
        reader.join()
    ended = max(line.tokens[-1] for line in timelines)
    metrics = engine.metrics()
    extra = {"cached_tokens": int(metrics["prefix_cache_hits"]), "steps": int(metrics.get("steps_total", 0))}
    emit(summary(timelines, started=started, ended=ended, load_s=load_s, extra=extra))
    engine.stop()


def _follow(handle: RequestHandle, timeline: Timeline) -> None:
    for event in handle:
        if isinstance(event, Delta):
            now = clock()
            timeline.tokens += [now] * len(event.token_ids)


if __name__ == "__main__":
    main(*sys.argv[1:])
