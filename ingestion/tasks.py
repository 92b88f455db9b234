"""Celery's tasks: wake-ups that carry nothing. Losing one loses nothing, the sweeper sends another. So an old one is
dropped: behind a busy worker they would only become many."""

from __future__ import annotations

from celery import shared_task
from django.db import close_old_connections

from ingestion import pipeline, sweeper

WAKE_UP_SECONDS = 120.0
"""Age at which a wake-up is dropped: more than clocks of two machines may be apart."""


@shared_task(name="ingestion.wake_up", ignore_result=True, expires=WAKE_UP_SECONDS)
def wake_up() -> int:
    """Works for a minute, or until no job is due; returns how many were worked on."""
    close_old_connections()
    try:
        return pipeline.work_for_a_turn()
    finally:
        close_old_connections()


@shared_task(name="ingestion.sweep", ignore_result=True)
def sweep() -> int:
    """Sends wake-ups for what nobody works on; the beat process asks for it. Returns how many."""
    return sweeper.sweep()
