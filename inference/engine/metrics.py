"""What the engine counts, under vLLM's names where vLLM has one, so that its dashboards fit.

Values are a flat dictionary: the name of a sample, with its labels as Prometheus writes them, and its number."""

from __future__ import annotations

import bisect
import json
import re
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from inference.config import EngineConfig
from inference.request import FinishReason, LiveRequest
from inference.scheduling.admission import QueueGate
from inference.scheduling.fair_queue import FairQueue
from inference.scheduling.scheduler import Scheduler
from inference.scheduling.sequence import Sequence

_TOKENS = "1 2 5 10 20 50 100 200 500 1000 2000 5000 10000 20000 50000 100000"
_LATENCIES = "0.3 0.5 0.8 1 1.5 2 2.5 5 10 15 20 30 40 50 60 120 240 480 960"
_FIRST = "0.001 0.005 0.01 0.02 0.04 0.06 0.08 0.1 0.25 0.5 0.75 1 2.5 5 7.5 10 20 40 80"
HISTOGRAMS = {
    "time_to_first_token_seconds": _FIRST,
    "inter_token_latency_seconds": "0.01 0.025 0.05 0.075 0.1 0.15 0.2 0.3 0.4 0.5 0.75 1 2.5 5 7.5 10 20 40",
    "e2e_request_latency_seconds": _LATENCIES,
    "request_queue_time_seconds": _LATENCIES,
    "request_prefill_time_seconds": _LATENCIES,
    "request_decode_time_seconds": _LATENCIES,
    "request_prompt_tokens": _TOKENS,
    "request_generation_tokens": _TOKENS,
}
"""vLLM's, with its bounds."""
VLLM = re.compile(
    r"num_requests_(running|waiting)|kv_cache_usage_perc|prefix_cache_(queries|hits)_total|num_preemptions_total"
    r"|spec_decode_num_(drafts|draft_tokens|accepted_tokens)_total"
    r"|(prompt|generation)_tokens_total|request_success_total"
    rf"|({'|'.join(HISTOGRAMS)})_(bucket|sum|count)"
)
RATE_WINDOW_S = 10.0


def live(sequence: Sequence, now: float) -> LiveRequest:
    """What the operator sees of a sequence. ``now``: of the clock of its arrival, s."""
    prefill = sequence.num_uncomputed > 1
    return LiveRequest(
        share=sequence.share.key,
        priority=int(sequence.priority),
        phase="waiting" if not sequence.block_table else "prefill" if prefill else "decode",
        prompt_tokens=sequence.num_prompt,
        computed_tokens=sequence.num_computed,
        output_tokens=sequence.num_output,
        age_s=round(now - sequence.arrival, 3),
    )


def shares(queue: FairQueue, **labels: str) -> dict[str, float]:
    """The service of each share so far, in weighted tokens, and the largest difference (weights divided out) between
    two that wait. For the operator alone: it names the shares."""
    values = {sample("share_service_gap_tokens", **labels): queue.gap()}
    for key, cost in list(queue.served.items()):
        values[sample("share_service_tokens_total", share=key, **labels)] = cost
    return values


def sample(name: str, **labels: str) -> str:
    """The name of a sample with its labels, as Prometheus writes them."""
    pairs = ",".join(f"{label}={json.dumps(value)}" for label, value in labels.items())
    return f"{name}{{{pairs}}}" if pairs else name


class Histogram:
    """Counts of observations up to each bound."""

    def __init__(self, bounds: str) -> None:
        self._bounds = [*map(float, bounds.split())]
        self._counts = [0] * (len(self._bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float, times: int = 1) -> None:
        self._counts[bisect.bisect_left(self._bounds, value)] += times
        self._sum += value * times

    def samples(self, name: str) -> dict[str, float]:
        values, total = {}, 0
        for bound, count in zip((*map(str, self._bounds), "+Inf"), self._counts, strict=True):
            total += count
            values[sample(f"{name}_bucket", le=bound)] = float(total)
        return values | {f"{name}_sum": self._sum, f"{name}_count": float(total)}


@dataclass(slots=True)
class EngineCounters:
    """Totals since the start; only the engine's thread writes them."""

    prompt_tokens_total: int = 0
    generation_tokens_total: int = 0
    steps_total: int = 0
    max_decodes_in_a_step: int = 0
    step_seconds_total: float = 0.0
    computed_tokens_total: int = 0
    spec_decode_num_drafts_total: int = 0
    spec_decode_num_draft_tokens_total: int = 0
    spec_decode_num_accepted_tokens_total: int = 0
    histograms: dict[str, Histogram] = field(
        default_factory=lambda: {name: Histogram(bounds) for name, bounds in HISTOGRAMS.items()}
    )
    ends: Counter[str] = field(
        default_factory=lambda: Counter(dict.fromkeys(("stop", "length", "abort", "error"), 0))
    )
    _marks: deque[tuple[float, int, int]] = field(default_factory=lambda: deque([(0.0, 0, 0)], maxlen=64))

    def record_step(self, *, decodes: int, tokens: int, seconds: float, now: float) -> None:
        self.steps_total += 1
        self.step_seconds_total += seconds
        self.computed_tokens_total += tokens
        self.max_decodes_in_a_step = max(self.max_decodes_in_a_step, decodes)
        if now - self._marks[-1][0] >= RATE_WINDOW_S / 20:
            self._marks.append((now, self.computed_tokens_total, self.generation_tokens_total))

    def record_admission(self, sequence: Sequence, now: float) -> None:
        """Notes that a request ceases to wait at ``now``, of the clock of its arrival, s; so for the others."""
        sequence.admitted_at = now
        self._observe("request_queue_time_seconds", now - sequence.arrival)

    def record_tokens(self, sequence: Sequence, count: int, now: float) -> None:
        """Counts a step's tokens of a request, of which all but one were drafted and right."""
        self.spec_decode_num_drafts_total += bool(sequence.draft)
        self.spec_decode_num_draft_tokens_total += len(sequence.draft)
        self.spec_decode_num_accepted_tokens_total += count - 1
        if sequence.first_token_at is None:
            sequence.first_token_at = now
            self.prompt_tokens_total += sequence.num_prompt
            self._observe("time_to_first_token_seconds", now - sequence.arrival)
            self._observe("request_prefill_time_seconds", now - sequence.admitted_at)
        else:
            self._observe("inter_token_latency_seconds", (now - sequence.last_token_at) / count, count)
        sequence.last_token_at = now

    def record_end(self, sequence: Sequence, reason: FinishReason, now: float) -> None:
        """Counts a request that ended."""
        if sequence.first_token_at is not None:
            self._observe("request_decode_time_seconds", now - sequence.first_token_at)
            self._observe("request_prompt_tokens", sequence.num_prompt)
            self._observe("request_generation_tokens", sequence.num_output)
        self.ends["abort" if reason == "aborted" else reason] += 1
        self._observe("e2e_request_latency_seconds", now - sequence.arrival)

    def rates(self, now: float) -> dict[str, float]:
        """Tokens per second over the last ten seconds, computed and sampled."""
        marks = list(self._marks)
        start = next((mark for mark in marks if mark[0] >= now - RATE_WINDOW_S), None)
        ages = now - start[0] if start else RATE_WINDOW_S
        computed = self.computed_tokens_total - start[1] if start else 0
        sampled = self.generation_tokens_total - start[2] if start else 0
        return {
            "computed_tokens_per_second": computed / max(ages, 1.0),
            "generation_tokens_per_second": sampled / max(ages, 1.0),
        }

    def cost(self, config: EngineConfig) -> dict[str, float]:
        """What a million computed tokens cost, at the configured price of an hour, idle time left out."""
        form = config.weight_format
        info = sample(
            "engine_info",
            format=form,
            device=config.device,
            kernels=config.kernels,
            kv_cache=config.kv_cache_format,
        )
        values = {info: 1.0}
        if config.price_per_hour and self.computed_tokens_total:
            spent = config.price_per_hour * self.step_seconds_total / 3600
            values[sample("cost_per_million_tokens", format=form)] = spent / self.computed_tokens_total * 1e6
        return values

    def as_dict(self) -> dict[str, float]:
        values: dict[str, float] = {}
        for name in self.__slots__:
            value = getattr(self, name)
            if isinstance(value, int | float):
                values[name] = float(value)
        for reason, count in list(self.ends.items()):
            values[sample("request_success_total", finished_reason=reason)] = float(count)
        for name, histogram in self.histograms.items():
            values |= histogram.samples(name)
        return values

    def _observe(self, name: str, value: float, times: int = 1) -> None:
        self.histograms[name].observe(value, times)


def gauges(scheduler: Scheduler, gate: QueueGate, sequences: list[Sequence], now: float) -> dict[str, float]:
    """How the engine stands. ``sequences``: all that it has taken in; those that ``gate`` counts are perhaps still on
    their way. For any thread."""
    pool = scheduler.kv.pool
    waiting = [sequence for sequence in sequences if not sequence.block_table]
    values = {
        "num_requests_running": len(scheduler.running),
        "num_requests_waiting": gate.num_requests + sum(not sequence.in_gate for sequence in waiting),
        "queued_tokens": gate.num_tokens,
        "oldest_waiting_seconds": now - min((sequence.arrival for sequence in waiting), default=now),
        "kv_cache_usage_perc": scheduler.kv.usage,
        "kv_blocks_used": pool.num_used,
        "kv_blocks_cached": pool.num_cached,
        "kv_blocks_free": pool.num_available - pool.num_cached,
        "prefix_cache_queries": scheduler.prefix_queries,
        "prefix_cache_hits": scheduler.prefix_hits,
        "num_preemptions_total": scheduler.num_preemptions,
    }
    return {name: float(value) for name, value in values.items()}


def exposition(values: Mapping[str, float], model_name: str) -> str:
    """The values in Prometheus' text format: ``vllm:`` before the names that vLLM has, ``tessera:`` before ours."""
    lines: list[str] = []
    typed = ""
    label = f"model_name={json.dumps(model_name)}"
    for sample, value in sorted(values.items(), key=lambda item: item[0].partition("{")[0]):
        name, _, labels = sample.partition("{")
        if name.startswith("prefix_cache_"):
            name += "_total"
        full = f"{'vllm' if VLLM.fullmatch(name) else 'tessera'}:{name}"
        histogram = re.fullmatch(r"(.*)_(bucket|sum|count)", full)
        family = histogram[1] if histogram else full
        if family != typed:
            kind = "histogram" if histogram else "counter" if name.endswith("_total") else "gauge"
            lines.append(f"# TYPE {family} {kind}")
            typed = family
        lines.append(f"{full}{{{label}{',' + labels if labels else '}'} {value!r}")
    return "\n".join(lines) + "\n"
