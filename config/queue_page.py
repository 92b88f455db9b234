"""The operator's page of ingestion: who waits, what runs, what failed and why, and whether indexes are whole.

It renders one fragment, for the page and for its refreshes alike. Names of organisations, never of their documents.
"""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponseNotAllowed
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone

from config.metrics import is_operator
from config.operator_page import MOST_ROWS, Tile, operator_page
from ingestion import overview as queues


def queue_page(request: HttpRequest) -> HttpResponseBase:
    """The page; see :func:`config.operator_page.operator_page`."""
    return operator_page(request, "queue", lambda: snapshot(queues.overview()))


def retry_failed(request: HttpRequest) -> HttpResponseBase:
    """Queues again what failed with one code in the last day; for superusers, by POST."""
    if not is_operator(request):
        return redirect_to_login(reverse("queue"), reverse("admin:login"))
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    if not request.user.is_superuser:
        raise PermissionDenied
    done = queues.retry_failed(code=request.POST.get("code", ""))
    messages.success(request, f"{done} queued again.")
    return redirect("queue")


def snapshot(seen: queues.Overview) -> dict[str, Any]:
    """All that the page shows."""
    return {
        "now": timezone.now(),
        "seen": seen,
        "tiles": _tiles(seen),
        "queues": [
            {"row": row, "oldest": _time(row.oldest_s) if row.single + row.bulk else "–"}
            for row in seen.queues[:MOST_ROWS]
        ],
        "more_queues": max(0, len(seen.queues) - MOST_ROWS),
        "running": [
            {
                "row": row,
                "part": 100 * row.done / row.total if row.total else 0,
                "since": _time(row.since_s),
                "silent": _time(row.silent_s),
            }
            for row in seen.running[:MOST_ROWS]
        ],
        "more_running": max(0, len(seen.running) - MOST_ROWS),
    }


def _tiles(seen: queues.Overview) -> list[Tile]:
    waiting = seen.waiting
    single = sum(each.single for each in seen.queues)
    ended = [ready + failed for ready, failed in zip(seen.ready, seen.failed, strict=True)]
    return [
        Tile(
            "Waiting",
            f"{waiting:,}",
            "files",
            f"{single:,} single, {waiting - single:,} bulk; {seen.delayed:,} later",
        ),
        Tile("Oldest", _time(seen.oldest_s) if waiting else "–", "", "since it was queued"),
        Tile("In work", f"{len(seen.running):,}", "files", "by all workers"),
        Tile(
            "Throughput", f"{ended[0] / 10:,.1f}", "files/min", f"over 10 min; {ended[1]:,} in the last hour"
        ),
        Tile("Ready", f"{seen.ready[2]:,}", "files", "in the last day"),
        Tile("Failed", f"{seen.failed[2]:,}", "files", "in the last day"),
        Tile(
            "Indexes",
            f"{seen.indexes_differ:,}" if seen.indexes else "–",
            "differ" if seen.indexes else "",
            f"of {seen.indexes:,}, last count {seen.counted_at:%H:%M} UTC"
            if seen.counted_at
            else "never counted yet",
        ),
    ]


def _time(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 2 * 3600:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h"
