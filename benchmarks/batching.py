"""What continuous batching is worth, by how uneven the outputs are: one by one, static batches, continuous.

``python -m benchmarks.batching [--rounds N] [--requests N] [--batch N]``

The experiment of Anyscale ("How continuous batching enables 23x throughput in LLM inference", 2023) scaled down: the
requests of W4 (64 tokens in, outputs exponential with mean 96) with outputs cut at 8, 32, 128 and 384 tokens. All
three ways run on our engine with the same weights, and within a round they take turns. ``one by one`` sends the next
request when the last has ended. ``static`` sends groups of ``--batch``, computes each row until the longest of its
group ends, as a static batch must, and counts only the tokens that were asked for. ``continuous`` sends everything at
once to an engine that runs at most ``--batch`` requests together. The prefix cache is off.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.engine import workloads
from benchmarks.engine.record import clock, median
from benchmarks.report import MODEL, config, keep, line_plot
from inference.engine.engine import Engine
from inference.engine.handle import RequestHandle
from inference.request import PromptTokens, SamplingParams, Share

CAPS = (8, 32, 128, 384)
TIMEOUT_S = 600.0

Requests = Sequence[workloads.Request]


def capped(count: int, cap: int, seed: int = 0) -> list[workloads.Request]:
    """Requests of W4 with outputs of at most ``cap`` tokens; other caps give the same prompts and order."""
    drawn: list[workloads.Request] = []
    while len(drawn) < count:
        drawn += workloads.uneven(random.Random(f"batching {seed} {len(drawn)}"))
    return [
        workloads.Request(request.prompt_token_ids, min(cap, request.max_tokens)) for request in drawn[:count]
    ]


def one_by_one(engine: Engine, requests: Requests, batch: int) -> None:
    for request in requests:
        _end([_submit(engine, request, request.max_tokens)])


def static(engine: Engine, requests: Requests, batch: int) -> None:
    for group in groups(requests, batch):
        longest = max(request.max_tokens for request in group)
        _end([_submit(engine, request, longest) for request in group])


def continuous(engine: Engine, requests: Requests, batch: int) -> None:
    _end([_submit(engine, request, request.max_tokens) for request in requests])


WAYS: dict[str, Callable[[Engine, Requests, int], None]] = {
    "one by one": one_by_one,
    "static": static,
    "continuous": continuous,
}


def groups(requests: Requests, batch: int) -> list[Requests]:
    return [requests[first : first + batch] for first in range(0, len(requests), batch)]


def _submit(engine: Engine, request: workloads.Request, max_tokens: int) -> RequestHandle:
    return engine.submit(
        PromptTokens(tuple(request.prompt_token_ids)),
        SamplingParams(max_tokens=max_tokens, ignore_eos=True),
        share=Share(request.tenant),
    )


def _end(handles: Sequence[RequestHandle]) -> None:
    for handle in handles:
        if handle.result(timeout_s=TIMEOUT_S)[1].reason != "length":
            raise RuntimeError("a request did not reach its length")


def table(runs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row per cap: medians of tokens/s, and how many times those of one by one and of static, pair by pair."""
    rows = []
    for cap in dict.fromkeys(run["cap"] for run in runs):
        speeds = {
            way: [run["output_tokens_per_s"] for run in runs if (run["cap"], run["way"]) == (cap, way)]
            for way in WAYS
        }
        best = speeds["continuous"]
        rows.append(
            {
                "cap": cap,
                **{way: round(median(found), 1) for way, found in speeds.items()},
                **{
                    f"continuous_over_{way.replace(' ', '_')}": round(
                        median([mine / theirs for mine, theirs in zip(best, speeds[way], strict=True)]), 2
                    )
                    for way in ("one by one", "static")
                },
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.batching", description=__doc__)
    parser.add_argument("--requests", type=int, default=64)
    parser.add_argument("--batch", type=int, default=16, help="rows of a static batch, slots of the engine")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--caps", default=",".join(map(str, CAPS)))
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--no-keep", action="store_true", help="print only")
    asked = parser.parse_args()

    engine = Engine.start(config(asked.model, max_running_requests=asked.batch, prefix_caching=False))
    runs: list[dict[str, Any]] = []
    try:
        continuous(engine, capped(asked.batch, 8, seed=1), asked.batch)  # warm
        for round_ in range(asked.rounds):
            for cap in map(int, asked.caps.split(",")):
                requests = capped(asked.requests, cap)
                tokens = sum(request.max_tokens for request in requests)
                for name, way in WAYS.items():
                    started = clock()
                    way(engine, requests, asked.batch)
                    wall = clock() - started
                    runs.append(
                        {
                            "round": round_,
                            "cap": cap,
                            "way": name,
                            "wall_s": round(wall, 3),
                            "output_tokens": tokens,
                            "output_tokens_per_s": round(tokens / wall, 1),
                        }
                    )
                    print(json.dumps(runs[-1]), flush=True)
    finally:
        engine.stop()
    rows = table(runs)
    for row in rows:
        print(json.dumps(row), flush=True)
    if not asked.no_keep:
        plot = line_plot(
            "Output tokens per second by the cap of the outputs",
            "longest output, tokens",
            "output tokens per second",
            {way: [(row["cap"], row[way]) for row in rows] for way in WAYS},
            log_x=True,
        )
        about = {
            "model": asked.model, "precision": "int8", "requests": asked.requests, "batch": asked.batch
        }  # fmt: skip
        print(keep("batching", {**about, "table": rows, "runs": runs}, plot))


if __name__ == "__main__":
    main()
