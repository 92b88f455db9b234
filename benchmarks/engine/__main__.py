"""Runs one file of requests on several engines in turn and prints ratios.

``python -m benchmarks.engine --requests FILE.jsonl | --workload W2 --engines tessera,vllm,llamacpp,transformers
--precision int8 [--model NAME] [--rounds N]``

Every run is a process of its own; engines take turns within a round, so that a machine that slows down slows all of
them. Peers run from ``.venv-peers/`` (``make bench-peers``). Prints one JSON line per run, then the table; keeps both
in ``benchmarks/results/``. ``tessera:int8+nodrafts`` is our engine without speculation, ``transformers:fp32+continuous``
its continuous batching in place of static batches. A ratio above 1 means that our engine is faster.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.engine import weights, workloads
from benchmarks.engine.record import median
from benchmarks.product import ROOT, machine
from inference import catalog

PEERS = Path(os.environ.get("TESSERA_BENCH_PEERS", ROOT / ".venv-peers"))
PYTHONS = {
    "tessera": Path(sys.executable),
    "vllm": PEERS / "vllm" / "bin" / "python",
    "llamacpp": PEERS / "llamacpp" / "bin" / "python",
    "transformers": PEERS / "transformers" / "bin" / "python",
}
FORMS = {
    ("tessera", "int8"): "gguf",
    ("tessera", "int4"): "gguf",
    ("tessera", "bf16"): "gguf",
    ("tessera", "fp32"): "gguf",
    ("vllm", "int8"): "w8a8",
    ("vllm", "bf16"): "dense",
    ("vllm", "fp32"): "dense",
    ("llamacpp", "int8"): "q8",
    ("llamacpp", "int4"): "q4",
    ("llamacpp", "bf16"): "b16",
    ("transformers", "bf16"): "dense",
    ("transformers", "fp32"): "dense",
}
THREADS = "2"
TIMEOUT_S = 1200


def run_once(engine: str, precision: str, forms: dict[str, Path], file: Path) -> dict[str, Any]:
    """One run of one engine in a process of its own. Raises ``RuntimeError`` with the end of its output."""
    command = [
        str(PYTHONS[engine]), "-m", f"benchmarks.engine.peers.{engine}",
        str(forms[FORMS[engine, precision.partition("+")[0]]]), str(file), precision,
    ]  # fmt: skip
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": THREADS, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    results = [line[7:] for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    if not results:
        raise RuntimeError(f"{engine} printed no result:\n{(done.stdout + done.stderr)[-3000:]}")
    found: dict[str, Any] = json.loads(results[-1])
    return {"engine": engine, "precision": precision, **found}


def table(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row per engine: medians over its rounds, and the speed of our first precision over its own, pair by pair."""
    first = next((run["precision"] for run in runs if run["engine"] == "tessera"), None)
    ours = [run for run in runs if (run["engine"], run["precision"]) == ("tessera", first)]
    rows = []
    for name in dict.fromkeys((run["engine"], run["precision"]) for run in runs):
        own = [run for run in runs if (run["engine"], run["precision"]) == name]
        pairs = [theirs["wall_s"] / mine["wall_s"] for mine, theirs in zip(ours, own, strict=False)]
        rows.append(
            {
                "engine": " ".join(name),
                "rounds": len(own),
                "ours_is_faster_by": round(median(pairs), 2) if pairs else None,
                **{
                    key: round(median([run[key] for run in own]), 3)
                    for key in (
                        "wall_s",
                        "output_tokens_per_s",
                        "ttft_p50_s",
                        "ttft_p95_s",
                        "load_s",
                        "resident_mb",
                    )
                    if all(run.get(key) is not None for run in own)
                },
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engine", description=__doc__)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--requests", type=Path, help="a file of requests")
    source.add_argument("--workload", choices=sorted(workloads.WORKLOADS), help="a generated workload")
    parser.add_argument(
        "--engines", default="tessera,vllm", help="names, parted by commas; NAME:PRECISION overrides"
    )
    parser.add_argument("--precision", default="int8", choices=["int8", "int4", "bf16", "fp32"])
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-keep", action="store_true", help="print only")
    asked = parser.parse_args()

    path = catalog.fetch(asked.model)
    forms = weights.prepare(path, path.parent / "benchmark-forms")
    runs = []
    with tempfile.TemporaryDirectory() as scratch:
        file = asked.requests
        if file is None:
            file = Path(scratch) / f"{asked.workload}.jsonl"
            workloads.write(workloads.generate(asked.workload), file)
        for round_ in range(asked.rounds):
            for name in asked.engines.split(","):
                engine, _, precision = name.partition(":")
                run = {"round": round_, **run_once(engine, precision or asked.precision, forms, file)}
                runs.append(run)
                print(json.dumps(run), flush=True)
    rows = table(runs)
    for row in rows:
        print(json.dumps(row), flush=True)
    if not asked.no_keep:
        name = asked.workload or asked.requests.stem
        result = {
            "date": datetime.now(UTC).date().isoformat(),
            "model": asked.model,
            "workload": name,
            "machine": machine(),
        }
        target = ROOT / "benchmarks" / "results" / f"engine-{name}-{asked.model}-{result['date']}.json"
        target.write_text(
            json.dumps({**result, "table": rows, "runs": runs}, indent=1) + "\n", encoding="utf-8"
        )


if __name__ == "__main__":
    main()
