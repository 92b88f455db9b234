"""Reads what the engine's metrics say: samples by their labels, and quantiles of histograms."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping


def labelled(values: Mapping[str, float], name: str) -> list[tuple[dict[str, str], float]]:
    """The samples of one name: their labels, and their values."""
    found = ((key.removeprefix(name), value) for key, value in values.items() if key.startswith(name))
    return [(_labels(rest), value) for rest, value in found if rest[:1] in ("", "{")]


def quantile(values: Mapping[str, float], name: str, q: float) -> float | None:
    """A quantile (0 to 1) of a histogram, linear within a bucket like Prometheus' ``histogram_quantile``; None without
    observations, the highest bound beyond it."""
    buckets = sorted((float(labels["le"]), count) for labels, count in labelled(values, f"{name}_bucket"))
    rank = q * buckets[-1][1] if buckets else 0.0
    below, low = 0.0, 0.0
    for bound, count in buckets:
        if rank and count >= rank:
            return low if math.isinf(bound) else low + (bound - low) * (rank - below) / (count - below)
        below, low = count, bound
    return None


def _labels(text: str) -> dict[str, str]:
    return {name: json.loads(value) for name, value in re.findall(r'(\w+)=("(?:[^"\\]|\\.)*")', text)}
