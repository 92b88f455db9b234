"""Time to the first token of a question, and the memory of the running product.

`python -m benchmarks.first_token [--model NAME] [--rounds N]` starts the product on an empty folder, waits
until the demo documents are ready, asks questions one at a time over the API's event stream, prints one JSON
object and keeps it in `benchmarks/results/`.

With `--engine` the product's generator is asked by itself: prompts of `--tokens` tokens, laid out as the product lays them out
(instructions, passages of Tessera's documentation, question), each with passages that were never seen before (cold), and
once more with another question over the same passages (seen).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from benchmarks.product import ROOT, Product, machine, product
from benchmarks.report import keep
from inference.request import ChatMessage, Finished, Handle, SamplingParams, Share, TextGenerator

QUESTIONS = (
    "How many days of paid vacation do full-time employees have?",
    "What is the daily allowance for meals abroad?",
    "What does error E23 of the R7 arm mean?",
    "How many R7 arms were sold in the third quarter?",
    "Where do visitors park?",
)


def wait_until_ingested(client: httpx.Client, timeout_s: float = 180) -> float:
    """Seconds until every document is ready. Raises ``RuntimeError`` for a failed one, ``TimeoutError``."""
    started = time.monotonic()
    while time.monotonic() - started < timeout_s:
        documents = client.get("/api/v1/documents").json()["results"]
        failed = [d for d in documents if d["status"] == "failed"]
        if failed:
            raise RuntimeError(f"failed: {failed}")
        if documents and all(d["status"] == "ready" for d in documents):
            return time.monotonic() - started
        time.sleep(0.2)
    raise TimeoutError("documents are not ready")


def ask(client: httpx.Client, question: str) -> dict[str, Any]:
    """One question over the event stream, with seconds to the first delta and to the end."""
    started = time.monotonic()
    first: float | None = None
    event = ""
    final: dict[str, Any] = {}
    with client.stream("POST", "/api/v1/answers", json={"question": question, "stream": True}) as response:
        response.raise_for_status()
        for line in response.iter_lines():
            if line.startswith("event:"):
                event = line[6:].strip()
            elif line.startswith("data:"):
                if event == "answer.delta" and first is None:
                    first = time.monotonic() - started
                if event == "answer.completed":
                    final = json.loads(line[5:])
    return {
        "question": question,
        "status": final.get("status"),
        "first_token_s": None if first is None else round(first, 3),
        "total_s": round(time.monotonic() - started, 3),
        "answer": final.get("answer"),
        "usage": final.get("usage"),
    }


def measure(running: Product, rounds: int) -> dict[str, Any]:
    """Asks each question ``rounds`` times."""
    headers = {"Authorization": f"Bearer {running.key('acme')}"}
    with httpx.Client(base_url=running.url, headers=headers, timeout=300) as client:
        ingested = wait_until_ingested(client)
        answers = [ask(client, q) for _ in range(rounds) for q in QUESTIONS]
    firsts = [a["first_token_s"] for a in answers if a["first_token_s"] is not None]
    return {
        "page_answers_s": running.page_s,
        "ready_s": running.ready_s,
        "demo_documents_ready_after_s": round(ingested, 2),
        "first_token_s_median": round(statistics.median(firsts), 3) if firsts else None,
        "resident_mb": round(running.resident_mb()),
        "answers": answers,
    }


def engine_alone(generator: TextGenerator, tokens: int, rounds: int) -> dict[str, Any]:
    """Seconds to the first token of prompts of about ``tokens`` tokens, cold and with passages that were seen."""
    text = "\n".join(file.read_text("utf-8") for file in sorted((ROOT / "docs").glob("*.md")))
    ids = generator.encode(text)
    share = Share("benchmark")
    frame = len(generator.render_chat(_messages(QUESTIONS[0], [], generator)).token_ids)
    length = tokens - frame
    if length < 1 or len(ids) < (rounds + 1) * length:
        raise ValueError(
            f"No {rounds + 1} different prompts of {tokens} tokens can be made of the documentation."
        )
    taken: dict[str, list[float]] = {"cold": [], "seen": []}
    lengths: list[int] = []
    for number in range(rounds + 1):
        passage = ids[number * length : (number + 1) * length]
        for name, question in (("cold", QUESTIONS[0]), ("seen", QUESTIONS[1])):
            prompt = generator.render_chat(_messages(question, passage, generator))
            seconds = _first_token(generator.submit(prompt, SamplingParams(max_tokens=2), share=share))
            if number:  # the first one warms up
                taken[name].append(seconds)
                lengths.append(len(prompt.token_ids))
    return {
        "prompt_tokens": {"least": min(lengths), "most": max(lengths)},
        **{
            f"{name}_s": {
                "p50": round(statistics.median(each), 3),
                "longest": round(max(each), 3),
                "rounds": len(each),
            }
            for name, each in taken.items()
        },
    }


def _messages(question: str, passage: Sequence[int], generator: TextGenerator) -> list[ChatMessage]:
    from search.prompting import INSTRUCTIONS, REMINDERS

    text = b"".join(generator.token_bytes(token) for token in passage).decode(errors="replace")
    return [
        ChatMessage("system", INSTRUCTIONS, public=True),
        ChatMessage("user", f"Passage [1]:\n{text}\n\n{REMINDERS['full']}\nQuestion: {question}"),
    ]


def _first_token(handle: Handle) -> float:
    begun, first = time.monotonic(), 0.0
    for event in handle:
        if not first:
            first = time.monotonic() - begun
        if isinstance(event, Finished) and event.error is not None:
            raise RuntimeError(event.error)
    return first


def _of_the_engine(model: str, tokens: int, rounds: int) -> dict[str, Any]:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

    import django

    django.setup()

    from config.management.commands.evaluate import models_for

    with models_for({"retrieval_only": False, "model": model}) as models:
        return engine_alone(models.generator, tokens, rounds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="qwen2.5-coder-0.5b-instruct")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--engine", action="store_true", help="Ask the generator by itself.")
    parser.add_argument("--tokens", type=int, default=1000, help="engine: tokens of a prompt")
    options = parser.parse_args()
    if options.engine:
        result = _of_the_engine(options.model, options.tokens, options.rounds)
        print(json.dumps(result, indent=1))
        print(keep("first_token-engine", {"model": options.model, **result}))
        return
    with (
        tempfile.TemporaryDirectory() as folder,
        product(Path(folder), TESSERA_MODEL=options.model) as running,
    ):
        result = measure(running, options.rounds)
    now = datetime.now(UTC)
    result = {
        "date": now.isoformat(timespec="seconds"),
        "model": options.model,
        "machine": machine(),
        **result,
    }
    text = json.dumps(result, indent=2, ensure_ascii=False)
    (ROOT / "benchmarks" / "results" / f"first_token-{now:%Y-%m-%d}.json").write_text(
        text + "\n", encoding="utf-8"
    )
    print(text)


if __name__ == "__main__":
    main()
