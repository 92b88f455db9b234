"""The one Celery task: a wake-up that carries nothing. Losing one loses nothing, the sweeper sends another."""

from __future__ import annotations

from celery import shared_task

from ingestion import pipeline, sweeper


@shared_task(name="ingestion.wake_up", ignore_result=True)
def wake_up() -> int:
    """Works until no job is due; returns how many were worked on."""
    return pipeline.work_until_idle()


@shared_task(name="ingestion.sweep", ignore_result=True)
def sweep() -> int:
    """Sends wake-ups for what nobody works on; the beat process asks for it. Returns how many."""
    return sweeper.sweep()
