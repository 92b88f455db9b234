"""Celery's tasks: wake-ups that carry nothing. Losing one loses nothing, the sweeper sends another.

None expires: the clocks of sender and worker would have to agree, and where they do not, every message would be dropped. That
they do not pile up behind a long file is seen to otherwise: a sweep sends no more than are missing, one that has just been
made is not made again, and a worker that goes from wake-up to wake-up sweeps between them.
"""

from __future__ import annotations

from celery import shared_task
from django.db import close_old_connections

from ingestion import pipeline, sweeper


@shared_task(name="ingestion.wake_up", ignore_result=True)
def wake_up() -> int:
    """Works for a minute, or until no job is due; returns how many were worked on. Sweeps where that is due."""
    close_old_connections()
    try:
        worked = pipeline.work_for_a_turn()
        if worked:
            sweeper.sweep_if_due()
        return worked
    finally:
        close_old_connections()


@shared_task(name="ingestion.sweep", ignore_result=True)
def sweep() -> int:
    """Sends wake-ups for what nobody works on; the beat process asks for it. Returns how many."""
    return sweeper.sweep_if_due()
