"""How the parts are wired. Importing it makes the Celery application the current one, for every process."""

from __future__ import annotations

from config.celery import app as celery_app

__all__ = ["celery_app"]
