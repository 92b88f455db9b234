"""Finds the jobs that nobody works on and wakes somebody for them.

It is what makes a lost message, a killed worker or a broker that was down harmless: the row is the work.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from django.utils import timezone

from ingestion import jobs

MOST_WAKE_UPS = 8
"""A worker that wakes up works until nothing is due, so a few messages are enough for any queue."""


def sweep(*, clock: Callable[[], datetime] = timezone.now) -> int:
    """Takes expired leases back and sends a wake-up for each due job, up to eight; returns how many."""
    jobs.interrupt_expired(clock=clock)
    due, _ = jobs.due_in(clock=clock)
    count = min(due, MOST_WAKE_UPS)
    if count:
        jobs.wake_workers(count)
    return count


def pause(*, longest: float, clock: Callable[[], datetime] = timezone.now) -> float:
    """Seconds until the next sweep is worth it: ``longest``, or less when a job becomes due before."""
    _, upcoming = jobs.due_in(clock=clock)
    if upcoming is None:
        return longest
    return min(longest, max(upcoming, 1.0))
