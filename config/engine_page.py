"""The operator's page of the engine: who computes what at this moment, and how the machine fares.

It asks what ``/metrics`` shows, so it needs no store of its own, and renders one fragment, for the page and for its
refreshes alike. Names of organisations, never their text.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils import timezone

from config.operator_page import MOST_ROWS, Tile, operator_page
from config.samples import labelled, quantile
from inference import runtime
from inference.errors import InferenceError
from inference.request import LiveRequest, Priority
from inference.runtime import Runtime
from tenants.models import Organization

CLASSES = {Priority.INTERACTIVE: "Interactive", Priority.API: "API", Priority.BATCH: "Batch"}
Samples = Mapping[str, float]


def engine_page(request: HttpRequest) -> HttpResponseBase:
    """The page; see :func:`config.operator_page.operator_page`."""
    return operator_page(request, "engine", lambda: snapshot(runtime.current()))


def snapshot(models: Runtime) -> dict[str, Any]:
    """All that the page shows, as of now."""
    values: Samples = {}
    rows: list[LiveRequest] = []
    problem = "" if models.state == "ready" else models.detail
    try:
        values = models.metrics()
        for generator in models.generators:
            rows += [row for row in generator.live() if row not in rows]
    except InferenceError as error:
        problem = problem or str(error)
    names = _names({row.share for row in rows}, values)
    rows.sort(key=lambda row: (row.phase == "waiting", row.priority, -row.age_s))
    return {
        "state": models.state,
        "problem": problem,
        "model": _model(models, values),
        "now": timezone.now(),
        "tiles": _tiles(values) if values else [],
        "batch": [_row(row, names) for row in rows[:MOST_ROWS]],
        "more": max(0, len(rows) - MOST_ROWS),
        "shares": _shares(values, rows, names),
        "gap": round(max((gap for _, gap in labelled(values, "share_service_gap_tokens")), default=0.0)),
        "backends": _backends(values),
        "ends": _ends(values),
    }


def _model(models: Runtime, values: Samples) -> list[str]:
    try:
        name = models.generator.model_name
    except InferenceError:
        return []
    info = next((labels for labels, _ in labelled(values, "engine_info")), {})
    return [name, *(info[key] for key in ("format", "device") if key in info)]


def _tiles(values: Samples) -> list[Tile]:
    get = values.get
    running, waiting = get("num_requests_running", 0.0), get("num_requests_waiting", 0.0)
    for key in ("running", "waiting"):
        added = sum(value for _, value in labelled(values, f"remote_requests_{key}"))
        running, waiting = (running + added, waiting) if key == "running" else (running, waiting + added)
    used, cached, free = (get(f"kv_blocks_{kind}", 0.0) for kind in ("used", "cached", "free"))
    asked, hit = get("prefix_cache_queries", 0.0), get("prefix_cache_hits", 0.0)
    cost = labelled(values, "cost_per_million_tokens")
    queued = get("queued_tokens", 0.0) + sum(v for _, v in labelled(values, "remote_queued_tokens"))
    return [
        Tile("Running", f"{running:.0f}", "requests", f"{waiting:.0f} waiting"),
        Tile(
            "Output",
            f"{get('generation_tokens_per_second', 0.0):,.0f}",
            "tokens/s",
            f"{get('computed_tokens_per_second', 0.0):,.0f} computed/s, over 10 s",
        ),
        Tile(
            "KV cache",
            f"{100 * get('kv_cache_usage_perc', 0.0):.0f}",
            "%",
            f"{used:,.0f} blocks used, {cached:,.0f} cached, {free:,.0f} free",
            100 * get("kv_cache_usage_perc", 0.0),
        ),
        Tile(
            "Prefix hits",
            f"{100 * hit / asked:.0f}" if asked else "–",
            "%" if asked else "",
            f"{hit:,.0f} of {asked:,.0f} prompt tokens",
            100 * hit / asked if asked else 0.0,
        ),
        _latency("First token", values, "time_to_first_token_seconds"),
        _latency("Between tokens", values, "inter_token_latency_seconds"),
        Tile("Queue", f"{queued:,.0f}", "tokens", f"oldest waits {get('oldest_waiting_seconds', 0.0):.1f} s"),
        Tile("Cost", f"{cost[0][1]:,.2f}", "per million tokens", "while it computes")
        if cost
        else Tile("Cost", "–", "", "needs TESSERA_PRICE_PER_HOUR"),
    ]


def _latency(label: str, values: Samples, name: str) -> Tile:
    half, most = quantile(values, name, 0.5), quantile(values, name, 0.95)
    if half is None or most is None:
        return Tile(label, "–", "", "nothing measured yet")
    return Tile(label, _seconds(half), "median", f"95 % within {_seconds(most)}")


def _seconds(value: float) -> str:
    return f"{1000 * value:.0f} ms" if value < 1 else f"{value:.1f} s"


def _row(row: LiveRequest, names: Mapping[str, str]) -> dict[str, Any]:
    computed = min(row.computed_tokens, row.prompt_tokens)
    return {
        "organization": names.get(row.share, row.share or "no share"),
        "class": CLASSES[Priority(row.priority)],
        "phase": row.phase,
        "prompt": row.prompt_tokens,
        "part": 100 * computed / row.prompt_tokens if row.prompt_tokens else 0,
        "output": row.output_tokens,
        "age": _seconds(row.age_s),
    }


def _shares(values: Samples, rows: Sequence[LiveRequest], names: Mapping[str, str]) -> list[dict[str, Any]]:
    service: Counter[str] = Counter()
    for labels, cost in labelled(values, "share_service_tokens_total"):
        service[labels["share"]] += round(cost)
    now = Counter(row.share for row in rows)
    total = service.total() or 1
    return [
        {
            "organization": names.get(share, share or "no share"),
            "now": now[share],
            "tokens": cost,
            "part": 100 * cost / total,
        }
        for share, cost in service.most_common(MOST_ROWS)
    ]


def _names(shares: set[str], values: Samples) -> dict[str, str]:
    """Of the organisations among the shares."""
    shares |= {labels["share"] for labels, _ in labelled(values, "share_service_tokens_total")}
    numbers = [int(share) for share in shares if share.isdecimal()]
    return {
        str(pk): name for pk, name in Organization.objects.filter(pk__in=numbers).values_list("pk", "name")
    }


def _backends(values: Samples) -> list[dict[str, Any]]:
    passed: Counter[tuple[str, str]] = Counter()
    for labels, count in labelled(values, "backend_passed_over_total"):
        passed[labels["route"], labels["backend"]] += round(count)
    answered = {(each["route"], each["backend"]): n for each, n in labelled(values, "backend_requests_total")}
    return [
        {**labels, "up": up > 0, "answered": round(answered[key]), "passed": passed[key]}
        for labels, up in labelled(values, "backend_up")
        for key in [(labels["route"], labels["backend"])]
    ]


def _ends(values: Samples) -> list[tuple[str, int]]:
    counted = {labels["finished_reason"]: n for labels, n in labelled(values, "request_success_total")}
    pairs = [(name, counted.get(reason, 0.0)) for name, reason in ENDS.items()]
    return [(name, round(n)) for name, n in [*pairs, ("preempted", values.get("num_preemptions_total", 0.0))]]


ENDS = {"finished": "stop", "cut at their length": "length", "aborted": "abort", "failed": "error"}
