"""The Celery application. A message is only a wake-up; the work is a row of :mod:`ingestion.jobs`."""

from __future__ import annotations

import os
from typing import Any

from celery import Celery, bootsteps
from celery.signals import after_task_publish, beat_init, heartbeat_sent, worker_init, worker_ready

from config import heartbeat

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

EVALUATION_ENDS_WITHIN_S = 60.0
"""What the questions in hand may take once the worker was asked to end; half of the compose file's grace."""

app = Celery("tessera")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks(["ingestion"])


@worker_init.connect
def _load_models(**kwargs: Any) -> None:
    """A worker process embeds through its own runtime; the embedded worker thread shares the server's."""
    from config.checks import refuse_wrong_database, refuse_wrong_settings
    from config.runtime import start_runtime
    from ingestion import pipeline

    refuse_wrong_settings()
    refuse_wrong_database()
    pipeline.ask_before_each_step(_told_to_stop)
    if _has_models():
        start_runtime()


class Evaluations(bootsteps.StartStopStep):
    """Runs of evaluations are worked on a thread of a worker: whichever takes one first, one at a time for all workers."""

    requires = ("celery.worker.components:Pool",)

    def include_if(self, worker: Any) -> bool:
        return _has_models()

    def create(self, worker: Any) -> Any:
        """What the worker starts after its models, and stops before it ends."""
        from ingestion.evaluating import IngestionPublisher
        from search.evaluation.jobs import EvaluationThread

        return EvaluationThread(IngestionPublisher(works_itself=False))

    def stop(self, worker: Any) -> None:
        """Hands the run back after the questions in hand, so that another worker begins it at once."""
        self.obj.stop(EVALUATION_ENDS_WITHIN_S)

    def terminate(self, worker: Any) -> None:
        self.stop(worker)


app.steps["worker"].add(Evaluations)


def _has_models() -> bool:
    from config.env import env

    return env().mode == "production" and env().load_models


def _told_to_stop() -> bool:
    """A task works until nothing is due, which may be hours: asked to end, it hands its job back instead."""
    from celery.worker import state

    heartbeat.touch("worker")
    asked: tuple[Any, Any] = (state.should_stop, state.should_terminate)
    return any(code is not None and code is not False for code in asked)


@worker_ready.connect
@heartbeat_sent.connect
def _worker_lives(**kwargs: Any) -> None:
    heartbeat.touch("worker")


@beat_init.connect
def _beat_lives(**kwargs: Any) -> None:
    from config.checks import refuse_wrong_settings

    refuse_wrong_settings()
    heartbeat.touch("beat")
    after_task_publish.connect(lambda **_: heartbeat.touch("beat"), weak=False)
