"""What the benchmarks of our own engine share: the engine they run, the file they keep, and a plot without a library."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import Any

from benchmarks.product import ROOT, machine
from inference import catalog
from inference.config import EngineConfig

RESULTS = ROOT / "benchmarks" / "results"
MODEL = "smollm2-135m-instruct"
COLOURS = ("#1f6feb", "#d1242f", "#2da44e", "#8250df", "#bf8700", "#57606a")

Points = Sequence[tuple[float, float]]


def config(model: str = MODEL, **limits: Any) -> EngineConfig:
    """The engine of the speed figures: int8, blocks of the product's size, a cache and a queue that refuse nobody."""
    path = catalog.fetch(model)
    settings = EngineConfig(
        model_path=path, model_name=model, weight_format="int8", max_model_len=2048, max_running_requests=64
    )
    return replace(settings, **({"max_queued_requests": 10_000, "max_queued_tokens": 10**8} | limits))


def result_file(name: str) -> Path:
    """Where today's result of that name lies."""
    return RESULTS / f"{name}-{datetime.now(UTC):%Y-%m-%d}.json"


def keep(name: str, result: Mapping[str, Any], plot: str | None = None) -> Path:
    """Writes ``NAME-DATE.json``, with date and machine, and the plot beside it; returns the path."""
    now, target = datetime.now(UTC), result_file(name)
    whole = {"date": now.isoformat(timespec="seconds"), "machine": machine(), **result}
    target.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
    if plot is not None:
        target.with_suffix(".svg").write_text(plot, encoding="utf-8")
    return target


def quantile(values: Sequence[float], part: float) -> float:
    """The smallest value that at least ``part`` of them do not exceed. Raises ``ValueError`` for none."""
    if not values:
        raise ValueError("no values")
    return sorted(values)[max(0, math.ceil(part * len(values)) - 1)]


def distribution(values: Sequence[float], points: int = 200) -> list[tuple[float, float]]:
    """The part of ``values`` that does not exceed each, as points of a line."""
    ordered = sorted(values)
    step = max(1, len(ordered) // points)
    kept = [*range(0, len(ordered), step), len(ordered) - 1]
    return [(ordered[index], (index + 1) / len(ordered)) for index in kept]


def line_plot(
    title: str, x_label: str, y_label: str, series: Mapping[str, Points], *, log_x: bool = False
) -> str:
    """An SVG of lines over linear axes that begin at 0, or over a logarithmic horizontal one."""
    left, top, width, height = 70, 40, 560, 300
    everything = [point for points in series.values() for point in points]
    low = min(x for x, _ in everything) if log_x else 0.0
    high = max(x for x, _ in everything)
    most = max(y for _, y in everything) or 1.0

    def place(x: float, y: float) -> tuple[float, float]:
        along = math.log(x / low) / math.log(high / low) if log_x else (x - low) / ((high - low) or 1.0)
        return left + width * along, top + height * (1 - y / most)

    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 820 400" font-family="sans-serif" font-size="12">',
        '<rect width="820" height="400" fill="white"/>',
        f'<text x="{left}" y="22" font-size="15">{escape(title)}</text>',
        f'<text x="{left + width / 2}" y="390" text-anchor="middle">{escape(x_label)}</text>',
        f'<text transform="translate(16 {top + height / 2}) rotate(-90)" text-anchor="middle">{escape(y_label)}</text>',
        f'<rect x="{left}" y="{top}" width="{width}" height="{height}" fill="none" stroke="#d0d7de"/>',
    ]
    for part in range(5):
        value = low * (high / low) ** (part / 4) if log_x else low + (high - low) * part / 4
        x, _ = place(value, 0)
        _, y = place(high, most * part / 4)
        parts.append(f'<text x="{x:.0f}" y="{top + height + 18}" text-anchor="middle">{value:.3g}</text>')
        parts.append(f'<text x="{left - 6}" y="{y + 4:.0f}" text-anchor="end">{most * part / 4:.3g}</text>')
    for index, (name, points) in enumerate(series.items()):
        colour = COLOURS[index % len(COLOURS)]
        path = " ".join("{:.1f},{:.1f}".format(*place(x, y)) for x, y in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        y = top + 10 + 20 * index
        parts.append(f'<rect x="{left + width + 12}" y="{y}" width="12" height="12" fill="{colour}"/>')
        parts.append(f'<text x="{left + width + 30}" y="{y + 10}">{escape(name)}</text>')
    return "\n".join([*parts, "</svg>\n"])
