"""Seconds and memory of loading a model in each number format, every load in a process of its own.

    python -m benchmarks.loading

Resident megabytes: before the load (interpreter and libraries), at the peak, and after, when what was freed is back with
the system. ``peak_over_result`` is what the load took at its peak over what stays of it: weights, tokenizer and, by torch,
keys and values. Weights are ready when the engine could take its first request.
"""

from __future__ import annotations

import argparse
import gc
import json
import multiprocessing
import re
import time
from pathlib import Path
from typing import Any

from benchmarks.perplexity import FORMATS, MODELS
from benchmarks.report import config, keep


def resident(field: str) -> float:
    """``VmRSS`` or ``VmHWM`` (the most so far) of this process, in megabytes."""
    found = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
    assert found is not None
    return int(found[1]) * 1024 / 1e6


def load(name: str, spelled: str) -> dict[str, Any]:
    """Loads one model; runs in a fresh process."""
    from inference.loading.checkpoint import load_checkpoint
    from inference.memory import return_freed_memory
    from inference.model.build import build_model

    weight_format, _, kernels = spelled.partition(":")
    settings = config(name, weight_format=weight_format, kernels=kernels or "auto")
    before, started = resident("VmRSS"), time.perf_counter()
    source = load_checkpoint(settings.model_path)
    model = build_model(source, settings, max_positions=settings.max_model_len)
    seconds, peak = time.perf_counter() - started, resident("VmHWM")
    gc.collect()
    return_freed_memory()
    after = resident("VmRSS")
    return {
        "model": name,
        "format": spelled,
        "computed_by": type(model).__name__,
        "seconds": round(seconds, 2),
        "before_mb": round(before),
        "peak_mb": round(peak),
        "after_mb": round(after),
        "peak_over_result": round((peak - before) / (after - before), 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.loading", description=__doc__)
    parser.add_argument("--models", default=MODELS, help="names of the catalogue, parted by commas")
    parser.add_argument("--formats", default=FORMATS, help="parted by commas; FORMAT:off computes by torch")
    parser.add_argument("--no-keep", action="store_true", help="print only")
    asked = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    rows: list[dict[str, Any]] = []
    for name in asked.models.split(","):
        for spelled in asked.formats.split(","):
            with context.Pool(1) as pool:
                rows.append(pool.apply(load, (name, spelled)))
            print(json.dumps(rows[-1]), flush=True)
    if not asked.no_keep:
        print(keep("loading", {"loads": rows}))


if __name__ == "__main__":
    main()
