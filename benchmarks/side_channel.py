"""Can a tenant find out by the clock what another one has just asked? With salts off (the control) it can.

``python -m benchmarks.side_channel [--trials N] [--add]``

In a trial the victim runs a prompt of its own behind the public instructions. The attacker then asks that very prompt (a guess that
is right) and one that nobody ever ran (a wrong one), in an order by chance, and takes the time to the first token. If the
times tell right from wrong guesses, the cache gives secrets away. ``salts off`` gives both tenants the same salt, ``salts on``
each its own, as the product does; the two take turns. AUC: how often a right guess is answered sooner than a wrong
one; 1 is certainty, 0.5 a coin.
"""

from __future__ import annotations

import argparse
import json
import random
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from benchmarks.engine.record import clock
from benchmarks.report import MODEL, config, distribution, keep, line_plot, quantile, result_file
from inference.engine.engine import Engine
from inference.request import PromptTokens, SamplingParams, Share

PUBLIC, PRIVATE = 16, 32
SALTS = {"salts off": (b"same", b"same"), "salts on": (b"victim's", b"attacker's")}
TIMEOUT_S = 60.0

Times = dict[str, dict[str, list[float]]]


def ask(engine: Engine, prompt: PromptTokens, share: Share) -> float:
    """Milliseconds to the first token, as its reader sees them."""
    started = clock()
    handle = engine.submit(prompt, SamplingParams(max_tokens=1, ignore_eos=True), share=share)
    if handle.result(TIMEOUT_S)[1].reason != "length":
        raise RuntimeError("a request failed")
    return round(1000 * (clock() - started), 3)


def measure(engine: Engine, trials: int, *, vocabulary: int, seed: int = 0) -> Times:
    """Times of the attacker's guesses, right and wrong, with salts off and on."""
    chance = random.Random(f"side channel {seed}")
    public = tuple(chance.randrange(1, vocabulary) for _ in range(PUBLIC))

    def prompt() -> PromptTokens:
        return PromptTokens(public + tuple(chance.randrange(1, vocabulary) for _ in range(PRIVATE)), PUBLIC)

    times: Times = defaultdict(lambda: {"right": [], "wrong": []})
    for _ in range(trials):
        for way, (victims, attackers) in SALTS.items():
            secret = prompt()
            ask(engine, secret, Share("victim", cache_salt=victims))
            guesses = [("right", secret), ("wrong", prompt())]
            chance.shuffle(guesses)
            for kind, guess in guesses:
                times[way][kind].append(ask(engine, guess, Share("attacker", cache_salt=attackers)))
    return dict(times)


def auc(right: Sequence[float], wrong: Sequence[float]) -> float:
    """How often one of ``right`` is smaller than one of ``wrong``; ties count half (Mann and Whitney's U)."""
    ranks: dict[float, float] = {}
    ordered = sorted([*right, *wrong])
    for index, value in enumerate(ordered):
        ranks.setdefault(value, index + (ordered.count(value) + 1) / 2)
    above = sum(ranks[value] for value in wrong) - len(wrong) * (len(wrong) + 1) / 2
    return above / (len(right) * len(wrong))


def summary(times: Times) -> dict[str, Any]:
    return {
        way: {
            "auc": round(auc(kinds["right"], kinds["wrong"]), 4),
            **{
                f"{kind}_guess_ms": {f"p{part}": quantile(taken, part / 100) for part in (5, 50, 95)}
                for kind, taken in kinds.items()
            },
        }
        for way, kinds in times.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.side_channel", description=__doc__)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--add", action="store_true", help="to the trials of today's result")
    parser.add_argument("--no-keep", action="store_true", help="print only")
    asked = parser.parse_args()
    kept = result_file("side_channel")
    known: Times = json.loads(kept.read_text("utf-8"))["times_ms"] if asked.add else {}
    done = len(known["salts on"]["right"]) if known else 0
    engine = Engine.start(config())
    try:
        measure(engine, 10, vocabulary=40_000, seed=-1)  # warm
        times = measure(engine, asked.trials, vocabulary=40_000, seed=done)
    finally:
        engine.stop()
    if known:
        times = {
            way: {kind: known[way][kind] + taken for kind, taken in kinds.items()}
            for way, kinds in times.items()
        }
    table = summary(times)
    for way, row in table.items():
        print(json.dumps({"way": way, **row}), flush=True)
    if not asked.no_keep:
        lines = {
            f"{way}, {kind} guess": distribution(taken)
            for way, kinds in times.items()
            for kind, taken in kinds.items()
        }
        about = {
            "model": MODEL,
            "precision": "int8",
            "trials": len(times["salts on"]["right"]),
            "prompt_tokens": {"public": PUBLIC, "private": PRIVATE},
        }
        plot = line_plot(
            "What the clock tells of a guess", "ms to the first token", "part of guesses", lines, log_x=True
        )
        print(keep("side_channel", {**about, "table": table, "times_ms": times}, plot))


if __name__ == "__main__":
    main()
