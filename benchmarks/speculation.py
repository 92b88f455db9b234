"""What drafting from the prompt is worth, by how many requests decode at once and how much the answers quote.

``python -m benchmarks.speculation [--model NAME] [--streams 1,2,4,8,16,32] [--rounds N] [--tasks quote,answer,random]``

Two engines of the same weights take turns: one drafts in every batch, the other never. Prompts hold four sections of
this repository's documentation. ``quote`` asks to copy one of them, ``answer`` asks what it says, ``random`` holds
random tokens, so that nothing can be foreseen: the price of trying. Prompts are in the prefix cache before the clock
starts, so the figures are of decoding. Both engines must give the same tokens, else the run fails.
"""

from __future__ import annotations

import argparse
import json
import random
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.engine.record import clock, median
from benchmarks.product import ROOT
from benchmarks.report import MODEL, config, keep, line_plot
from inference.engine.engine import Engine
from inference.request import ChatMessage, Delta, PromptTokens, SamplingParams, Share

SYSTEM = "You answer questions from passages of the user's documents. Use only facts from the passages."
ASKED = {
    "quote": "Copy passage [{n}] word for word, and nothing else.",
    "answer": "What does passage [{n}] say? Answer in three complete sentences.",
}
SHORTEST, LONGEST = 300, 900
OUTPUT = 96
METRICS = "spec_decode_num_{}_total"


def sections(folder: Path) -> list[str]:
    """Sections of the Markdown files in ``folder`` that are neither short nor long, in a fixed order."""
    texts = [path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.md"))]
    found = [part.strip() for text in texts for part in re.split(r"\n(?=#+ )", text)]
    return [part for part in found if SHORTEST <= len(part) <= LONGEST]


def prompts(engine: Engine, task: str, count: int) -> list[PromptTokens]:
    """``count`` prompts of different passages; the same for the same documentation."""
    chance = random.Random(task)
    if task == "random":
        return [PromptTokens(tuple(chance.randrange(100, 40_000) for _ in range(600))) for _ in range(count)]
    pool, made = sections(ROOT / "docs"), []
    for _ in range(count):
        chosen = chance.sample(pool, 4)
        passages = "\n\n".join(f"Passage [{n}]:\n{text}" for n, text in enumerate(chosen, 1))
        asked = ASKED[task].format(n=chance.randint(1, 4))
        messages = [
            ChatMessage("system", SYSTEM, public=True),
            ChatMessage("user", f"{passages}\n\n{asked}"),
        ]
        made.append(engine.render_chat(messages))
    return made


def run(
    engine: Engine, asked: Sequence[PromptTokens], max_tokens: int = OUTPUT
) -> tuple[list[list[int]], float]:
    """Sends all at once; their tokens, and the seconds until the last."""
    started = clock()
    params = SamplingParams(max_tokens=max_tokens)
    handles = [engine.submit(prompt, params, share=Share("bench")) for prompt in asked]
    outputs = [
        [token for event in handle if isinstance(event, Delta) for token in event.token_ids]
        for handle in handles
    ]
    return outputs, clock() - started


def measure(engines: dict[str, Engine], task: str, streams: int) -> dict[str, Any]:
    """One turn of each engine over the same prompts."""
    asked = prompts(engines["off"], task, streams)
    result: dict[str, Any] = {"task": task, "streams": streams}
    outputs = {}
    for name, engine in engines.items():
        run(engine, asked, max_tokens=1)
        before = engine.metrics()
        outputs[name], wall = run(engine, asked)
        after = engine.metrics()
        result["output_tokens"] = tokens = sum(map(len, outputs[name]))
        result[f"{name}_tokens_per_s"] = round(tokens / wall, 1)
        if name == "on":
            for kind in ("drafts", "draft_tokens", "accepted_tokens"):
                key = METRICS.format(kind)
                result[kind] = int(after[key] - before[key])
    if outputs["on"] != outputs["off"]:
        raise RuntimeError("drafting changed an output")
    result["speedup"] = round(result["on_tokens_per_s"] / result["off_tokens_per_s"], 3)
    return result


def table(runs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row per task and number of streams: medians over the rounds."""
    rows = []
    for task, streams in dict.fromkeys((run["task"], run["streams"]) for run in runs):
        own = [run for run in runs if (run["task"], run["streams"]) == (task, streams)]
        drafted, accepted = (sum(run[key] for run in own) for key in ("draft_tokens", "accepted_tokens"))
        rows.append(
            {
                "task": task,
                "streams": streams,
                **{
                    key: round(median([run[key] for run in own]), 2)
                    for key in ("off_tokens_per_s", "on_tokens_per_s", "speedup")
                },
                "accepted_of_drafted": round(accepted / drafted, 3) if drafted else None,
                "accepted_of_output": round(accepted / sum(run["output_tokens"] for run in own), 3),
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speculation", description=__doc__)
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--streams", default="1,2,4,8,16,32")
    parser.add_argument("--tasks", default="quote,answer,random")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-keep", action="store_true", help="print only")
    asked = parser.parse_args()

    engines = {
        name: Engine.start(config(asked.model, speculation=up_to)) for name, up_to in (("off", 0), ("on", 64))
    }
    runs = []
    try:
        for round_ in range(asked.rounds):
            for task in asked.tasks.split(","):
                for streams in map(int, asked.streams.split(",")):
                    order = list(engines) if round_ % 2 else list(engines)[::-1]
                    found = measure({name: engines[name] for name in order}, task, streams)
                    runs.append({"round": round_, **found})
                    print(json.dumps(runs[-1]), flush=True)
    finally:
        for engine in engines.values():
            engine.stop()
    rows = table(runs)
    for row in rows:
        print(json.dumps(row), flush=True)
    if not asked.no_keep:
        plot = line_plot(
            f"Speed with drafts over speed without, {asked.model}, int8",
            "requests that decode at once",
            "times as fast",
            {
                task: [(row["streams"], row["speedup"]) for row in rows if row["task"] == task]
                for task in asked.tasks.split(",")
            },
            log_x=True,
        )
        about = {"model": asked.model, "precision": "int8", "output": OUTPUT}
        name = f"speculation-{asked.tasks.replace(',', '-')}-{asked.model}"
        print(keep(name, {**about, "table": rows, "runs": runs}, plot))


if __name__ == "__main__":
    main()
