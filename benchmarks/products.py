"""Time of one matrix product by number format and rows, on the compiled kernels: is int4 ever slower than int8?

    python -m benchmarks.products

A layer's weight is multiplied with 1 to 512 rows of fp32, which the kernels quantize themselves. So many copies of a weight are gone
through in turn that none is still in the cache, as in a model; formats take turns. Prints, and keeps, the median of
microseconds a product, and int8 over int4: above 1 int4 is faster.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

import torch

from benchmarks.engine.record import median
from benchmarks.report import keep
from inference.kernels.library import Team
from inference.quantization.int4 import quantize_grouped
from inference.quantization.panels import GroupedPanelLinear, PanelLinear, from_tensor

SHAPES = {
    "SmolLM2-135M, gate and up": (576, 3072),
    "Qwen2.5-Coder-0.5B, gate and up": (896, 9728),
    "Qwen2.5-Coder-0.5B, down": (4864, 896),
    "13B, output": (5120, 5120),
}
ROWS = (1, 2, 4, 8, 16, 64, 512)
FORMATS = ("int8", "int4", "bf16")
CACHE_BYTES = 96 * 2**20
"""More than the last cache of the processors that this was measured on."""
Packed = PanelLinear | GroupedPanelLinear


def packed(weight: torch.Tensor, form: str) -> Packed:
    if form == "int4":
        return GroupedPanelLinear(quantize_grouped(weight))
    return PanelLinear(
        from_tensor(weight), (weight.shape[0], weight.shape[1]), "bf16" if form == "bf16" else "int8"
    )


def measure(inputs: int, outputs: int, seconds: float) -> list[dict[str, Any]]:
    """A row for each of :data:`ROWS`; ``seconds`` for each."""
    torch.manual_seed(0)
    weight = torch.randn(outputs, inputs)
    layers = {form: _copies(weight, form) for form in FORMATS}
    team = Team()
    found = []
    for rows in ROWS:
        x = torch.randn(rows, inputs)
        times: dict[str, list[float]] = {form: [] for form in FORMATS}
        ends = time.perf_counter() + seconds
        turn = 0
        while time.perf_counter() < ends or turn < 5:
            for form, copies in layers.items():
                layer = copies[turn % len(copies)].struct
                began = time.perf_counter()
                team.linear(layer, x)
                times[form].append(time.perf_counter() - began)
            turn += 1
        medians = {form: median(values[1:]) for form, values in times.items()}
        found.append(
            {
                "rows": rows,
                "turns": turn,
                **{f"{form}_us": round(1e6 * value, 1) for form, value in medians.items()},
                "int8_over_int4": round(medians["int8"] / medians["int4"], 2),
            }
        )
    return found


def _copies(weight: torch.Tensor, form: str) -> list[Packed]:
    first = packed(weight, form)
    return [first, *(packed(weight, form) for _ in range(min(40, CACHE_BYTES // first.nbytes)))]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.products", description=__doc__)
    parser.add_argument("--seconds", type=float, default=1.5, help="for each number of rows")
    parser.add_argument("--no-keep", action="store_true", help="print only")
    asked = parser.parse_args()
    results = {}
    for name, (inputs, outputs) in SHAPES.items():
        results[name] = measure(inputs, outputs, asked.seconds)
        for row in results[name]:
            print(json.dumps({"layer": name, **row}), flush=True)
    if not asked.no_keep:
        shapes = {name: {"inputs": i, "outputs": o} for name, (i, o) in SHAPES.items()}
        keep("products", {"shapes": shapes, "results": results})


if __name__ == "__main__":
    main()
