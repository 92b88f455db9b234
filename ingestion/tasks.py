"""Celery's tasks: wake-ups that carry nothing. Losing one loses nothing, the sweeper sends another."""

from __future__ import annotations

from celery import shared_task
from django.db import close_old_connections

from ingestion import pipeline, sweeper


@shared_task(name="ingestion.wake_up", ignore_result=True)
def wake_up() -> int:
    """Works until no job is due; returns how many were worked on."""
    close_old_connections()
    try:
        return pipeline.work_until_idle()
    finally:
        close_old_connections()


@shared_task(name="ingestion.sweep", ignore_result=True)
def sweep() -> int:
    """Sends wake-ups for what nobody works on; the beat process asks for it. Returns how many."""
    return sweeper.sweep()
