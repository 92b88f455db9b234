"""Time to the first token of a question, and the memory of the running product.

`python -m benchmarks.first_token [--model NAME] [--rounds N]` starts the product on an empty folder, waits
until the demo documents are ready, asks questions one at a time over the API's event stream, prints one JSON
object and keeps it in `benchmarks/results/`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from benchmarks.product import ROOT, Product, machine, product

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="qwen2.5-coder-0.5b-instruct")
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
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
