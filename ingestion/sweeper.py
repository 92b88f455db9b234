"""Finds the jobs that nobody works on and wakes somebody for them.

It is what makes a lost message, a killed worker or a broker that was down harmless: the row is the work.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import datetime, timedelta

from django.conf import settings
from django.utils import timezone

from ingestion import child, deletion, files, index_counts, jobs, publishing, receipts

logger = logging.getLogger(__name__)

MOST_WAKE_UPS = 8
"""A worker that wakes up works until nothing is due, so a few messages are enough for any queue."""
LEFT_OVERS_EVERY = timedelta(hours=1)
"""How often a process looks for what killed processes left; the first time at its first sweep."""

_looked_at: datetime | None = None
_swept_at = float("-inf")


def sweep_if_due() -> int:
    """:func:`sweep`, unless this process has just made one: of many that were asked for behind a long file one is enough."""
    global _swept_at
    if time.monotonic() - _swept_at < settings.ENV.sweep_seconds / 2:
        return 0
    _swept_at = time.monotonic()
    return sweep()


def sweep(*, clock: Callable[[], datetime] = timezone.now) -> int:
    """Takes expired leases back and sends a wake-up for each due job, up to eight, as far as they are not there yet; returns
    how many. Ends deletions that were cut off, and now and then removes whatever else killed processes left."""
    jobs.interrupt_expired(clock=clock)
    due, _ = jobs.due_in(clock=clock)
    count = min(due, MOST_WAKE_UPS)
    if count:
        count -= min(count, jobs.messages_waiting())
    if count:
        jobs.wake_workers(count)
    deletion.finish_deletions(clock=clock)
    _clear_up(clock())
    return count


def _clear_up(now: datetime) -> None:
    global _looked_at
    if _looked_at is not None and now - _looked_at < LEFT_OVERS_EVERY:
        return
    _looked_at = now
    for step in (
        publishing.remove_left_overs,
        lambda: files.remove_unnamed(now=now),
        lambda: child.remove_left_overs(now=now.timestamp()),
        lambda: receipts.forget_old(clock=lambda: now),
        lambda: index_counts.count_some(clock=lambda: now),
    ):
        try:
            step()
        except Exception:  # whatever one of them meets, the others go on
            logger.exception("not everything could be cleared up; it is tried again in an hour")


def pause(*, longest: float, clock: Callable[[], datetime] = timezone.now) -> float:
    """Seconds until the next sweep is worth it: ``longest``, or less when a job becomes due before."""
    _, upcoming = jobs.due_in(clock=clock)
    if upcoming is None:
        return longest
    return min(longest, max(upcoming, 1.0))
