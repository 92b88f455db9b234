"""The Celery application. A message is only a wake-up; the work is a row of :mod:`ingestion.jobs`."""

from __future__ import annotations

import os
from typing import Any

from celery import Celery
from celery.signals import worker_init

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

app = Celery("tessera")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks(["ingestion"])


@worker_init.connect
def _load_models(**kwargs: Any) -> None:
    """A worker process embeds through its own runtime; the embedded worker thread shares the server's."""
    from config.env import env
    from config.runtime import start_runtime

    if env().mode == "production" and env().load_models:
        start_runtime()
