"""What is measured of a run, the same for every engine. Imports nothing but the standard library: peers use it too."""

from __future__ import annotations

import json
import statistics
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(slots=True)
class Timeline:
    """When the tokens of one request came, in seconds on one clock."""

    sent: float
    tokens: list[float] = field(default_factory=list)


def resident_mb() -> float:
    """Resident memory of this process and its children, MB."""
    total, pids = 0, [str(threading.get_native_id())]
    pids = ["self", *_children("self")]
    for pid in pids:
        try:
            status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:"))
    return total / 1000


def _children(pid: str) -> list[str]:
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text(encoding="ascii").split():
            found += [child, *_children(child)]
    return found


def summary(
    timelines: list[Timeline], *, started: float, ended: float, load_s: float, extra: dict[str, Any]
) -> dict[str, Any]:
    """One line of a result. ``load_s``: from the start of the process until requests could be sent, seconds."""
    first = sorted(line.tokens[0] - line.sent for line in timelines if line.tokens)
    gaps = sorted(
        later - earlier
        for line in timelines
        for earlier, later in zip(line.tokens, line.tokens[1:], strict=False)
    )
    count = sum(len(line.tokens) for line in timelines)
    return {
        "wall_s": round(ended - started, 3),
        "output_tokens": count,
        "output_tokens_per_s": round(count / (ended - started), 1),
        "ttft_p50_s": _at(first, 0.5),
        "ttft_p95_s": _at(first, 0.95),
        "inter_token_p50_ms": _milli(_at(gaps, 0.5)),
        "inter_token_p95_ms": _milli(_at(gaps, 0.95)),
        "load_s": round(load_s, 2),
        "resident_mb": round(resident_mb()),
        **extra,
    }


def _milli(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 2)


def _at(values: list[float], part: float) -> float | None:
    if not values:
        return None
    return round(values[min(len(values) - 1, int(part * len(values)))], 4)


def median(values: list[float]) -> float:
    return statistics.median(values)


def emit(result: dict[str, Any]) -> None:
    """The last line of a peer's output."""
    sys.stdout.flush()
    print("RESULT " + json.dumps(result), flush=True)


def process_age_s() -> float:
    """Seconds since this process was started."""
    ticks = int(Path("/proc/self/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()[19])
    uptime = float(Path("/proc/uptime").read_text(encoding="ascii").split()[0])
    return uptime - ticks / 100


clock = time.perf_counter
