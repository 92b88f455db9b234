"""What ``/metrics`` says of ingestion, in Prometheus' text format: ``tessera_ingestion_`` names, organisations by number.

All are gauges: they are counted from rows, and rows leave with their documents.
"""

from __future__ import annotations

from collections.abc import Iterator

from ingestion import overview as queues

_WINDOWS = ("10m", "1h", "1d")


def exposition(seen: queues.Overview) -> str:
    """The text of one moment."""
    lines: list[str] = []
    typed = ""
    for name, labels, value in _samples(seen):
        if name != typed:
            lines.append(f"# TYPE {name} gauge")
            typed = name
        lines.append(f"{name}{{{labels}}} {value!r}" if labels else f"{name} {value!r}")
    return "\n".join(lines) + "\n"


def _samples(seen: queues.Overview) -> Iterator[tuple[str, str, float]]:
    prefix = "tessera_ingestion_"
    for each in seen.queues:
        of = f'organization="{each.organization_id}"'
        yield f"{prefix}queued_files", f'{of},class="single"', float(each.single)
        yield f"{prefix}queued_files", f'{of},class="bulk"', float(each.bulk)
    for each in seen.queues:
        yield f"{prefix}running_files", f'organization="{each.organization_id}"', float(each.running)
    for each in seen.queues:
        yield f"{prefix}oldest_waiting_seconds", f'organization="{each.organization_id}"', each.oldest_s
    yield f"{prefix}delayed_files", "", float(seen.delayed)
    yield f"{prefix}longest_silence_seconds", "", max((each.silent_s for each in seen.running), default=0.0)
    for status, counts in (("ready", seen.ready), ("failed", seen.failed)):
        for window, count in zip(_WINDOWS, counts, strict=True):
            yield f"{prefix}ended_files", f'status="{status}",window="{window}"', float(count)
    for code, count in seen.failures:
        yield f"{prefix}failed_files", f'code="{code}",window="1d"', float(count)
    yield f"{prefix}indexes", "", float(seen.indexes)
    yield f"{prefix}indexes_that_differ", "", float(seen.indexes_differ)
    for each in seen.queues:
        if each.points is not None and each.rows is not None:
            of = f'organization="{each.organization_id}"'
            yield f"{prefix}index_points_missing", of, float(each.rows - each.points)
