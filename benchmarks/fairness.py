"""Does a tenant's flood make another tenant wait? The product's queue, and first come, first served as the control.

``python -m benchmarks.fairness [--part fair|control] [--scale N] [--b-output N]``

Tenant A floods: 100 requests of W2's shape at once (1,050 to 1,250 tokens in, of which everybody shares 200; 70 to 110
out). Tenant B sends 50 requests of the same prompts one at a time, the next when the last has ended; it reads a few
tokens of each (``--b-output``), so that all 50 fall into A's flood. Three ways in part ``fair``: B alone; both, as two
shares; both under one share, which makes the queue first come, first served. The last two do the same work, so that
their walls compare total throughput.

One at a time, only the first of B's requests meets the flood when the first come is first served: the others come when
it is over. So part ``control`` keeps A's flood at 100 outstanding requests, first come, first served, while B sends
five.

The limits are the product's: 32 running requests, 65,536 tokens of KV cache, 512 tokens a step. ``--scale`` divides these,
the prompts and A's outputs alike, so that a prompt takes as many steps as at full length.
"""

from __future__ import annotations

import argparse
import json
import random
import threading
import time
from collections.abc import Sequence
from typing import Any

from benchmarks.engine.record import clock
from benchmarks.engine.workloads import _tokens
from benchmarks.report import MODEL, config, distribution, keep, line_plot, quantile
from inference.engine.engine import Engine
from inference.engine.handle import RequestHandle
from inference.request import Finished, PromptTokens, SamplingParams, Share

FLOOD, ASKED, CONTROL = 100, 50, 5
TIMEOUT_S = 600.0
A, B = Share("a", cache_salt=b"a"), Share("b", cache_salt=b"b")


class Run:
    """One way of serving, on an engine with an empty cache. ``b``: the share that B's requests go under."""

    def __init__(self, name: str, *, b: Share = B, b_output: int = 4, scale: int = 1) -> None:
        self.name = name
        self._b, self._b_output, self._scale = b, b_output, scale
        self._chance = random.Random("fairness")
        self._shared = self._tokens(200)
        self._engine = Engine.start(
            config(
                max_running_requests=32 // scale,
                max_batched_tokens=512 // scale,
                kv_cache_tokens=65_536 // scale,
            )
        )
        self._a: list[tuple[float, RequestHandle]] = []
        self._finish(self._send(A, 1))  # warm, and the shared beginning is cached

    def measure(self, flood: int, asked: int, *, keep_up: bool = False) -> dict[str, Any]:
        """``flood`` requests of A at once, kept up if so asked, and ``asked`` of B one after the other."""
        before, started = self._engine.metrics(), clock()
        self._a = [(clock(), self._send(A, 0)) for _ in range(flood)]
        over = threading.Event()
        sender = threading.Thread(target=self._keep_up, args=(over,))
        if keep_up:
            sender.start()
        while (
            flood and self._engine.metrics()["generation_tokens_total"] == before["generation_tokens_total"]
        ):
            time.sleep(0.01)
        rows = []
        for _ in range(asked):
            sent = clock()
            end = self._finish(self._send(self._b, self._b_output))
            rows.append((sent, end.usage.time_to_first_token_s or 0.0))
        over.set()
        if keep_up:
            sender.join()
        ends = [sent + (self._finish(handle).usage.total_s or 0.0) for sent, handle in self._a]
        last_of_a = max(ends, default=started)
        wall, after = clock() - started, self._engine.metrics()
        self._engine.stop()
        first = [seconds for _, seconds in rows]
        tokens = sum(
            after[name] - before[name] for name in ("prompt_tokens_total", "generation_tokens_total")
        )
        return {
            "way": self.name,
            "b_first_token_s": {
                "p50": round(quantile(first, 0.5), 3),
                "p95": round(quantile(first, 0.95), 3),
                "max": round(max(first), 3),
            },
            "b_sent_during_the_flood": sum(sent < last_of_a for sent, _ in rows),
            "wall_s": round(wall, 2),
            "tokens": int(tokens),
            "tokens_per_s": round(tokens / wall, 1),
            "preemptions": int(after["num_preemptions_total"] - before["num_preemptions_total"]),
            "b_first_tokens_s": [round(seconds, 4) for seconds in first],
        }

    def _keep_up(self, over: threading.Event) -> None:
        """Sends a request of A for each that has ended."""
        while not over.wait(0.02):
            ended = sum(handle.finished is not None for _, handle in self._a)
            for _ in range(FLOOD - len(self._a) + ended):
                self._a.append((clock(), self._send(A, 0)))

    def _tokens(self, count: int) -> tuple[int, ...]:
        return tuple(_tokens(self._chance, count // self._scale))

    def _send(self, share: Share, output: int) -> RequestHandle:
        """A request of W2's shape; an ``output`` of 0 is W2's too."""
        body = self._tokens(self._chance.randint(850, 1050))
        return self._engine.submit(
            PromptTokens(self._shared + body, len(self._shared)),
            SamplingParams(
                max_tokens=output or self._chance.randint(70, 110) // self._scale, ignore_eos=True
            ),
            share=share,
        )

    def _finish(self, handle: RequestHandle) -> Finished:
        end = handle.result(TIMEOUT_S)[1]
        if end.reason != "length":
            raise RuntimeError(f"a request ended with {end}")
        return end


def verdict(runs: Sequence[dict[str, Any]]) -> dict[str, float]:
    """The two ratios that count."""
    by_way = {run["way"]: run for run in runs}
    alone, fair, first = (by_way[way] for way in ("B alone", "fair", "first come"))
    return {
        "b_p95_fair_over_alone": round(fair["b_first_token_s"]["p95"] / alone["b_first_token_s"]["p95"], 2),
        "throughput_fair_over_first_come": round(fair["tokens_per_s"] / first["tokens_per_s"], 3),
    }


def plot(runs: Sequence[dict[str, Any]]) -> str:
    return line_plot(
        "Time to B's first token while A floods",
        "seconds (logarithmic)",
        "part of B's requests",
        {run["way"]: distribution(run["b_first_tokens_s"]) for run in runs},
        log_x=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fairness", description=__doc__)
    parser.add_argument("--part", choices=("fair", "control"), default="fair")
    parser.add_argument("--scale", type=int, default=1, help="divides lengths and limits")
    parser.add_argument("--b-output", type=int, default=4, help="tokens of output that B asks for")
    parser.add_argument("--no-keep", action="store_true", help="print only")
    asked = parser.parse_args()
    runs: list[dict[str, Any]] = []

    def run(name: str, flood: int, number: int, b: Share = B, *, keep_up: bool = False) -> None:
        one = Run(name, b=b, b_output=asked.b_output, scale=asked.scale)
        runs.append(one.measure(flood, number, keep_up=keep_up))
        print(
            json.dumps({key: value for key, value in runs[-1].items() if key != "b_first_tokens_s"}),
            flush=True,
        )

    about = {"model": MODEL, "precision": "int8", "scale": asked.scale, "b_output": asked.b_output}
    result: dict[str, Any] = {**about, "runs": runs}
    run("B alone", 0, ASKED)
    if asked.part == "fair":
        run("fair", FLOOD, ASKED)
        run("first come", FLOOD, ASKED, A)
        result |= verdict(runs)
        print(json.dumps(verdict(runs)))
    else:
        run("first come, flood kept up", FLOOD, CONTROL, A, keep_up=True)
    if not asked.no_keep:
        print(keep("fairness" if asked.part == "fair" else "fairness-control", result, plot(runs)))


if __name__ == "__main__":
    main()
