"""The worker of the embedded mode: Celery and the sweeper on threads of the serving process.

What always holds: each thread closes its database connections when it is done; stopping hands the job in
hand back to the queue, and being killed instead costs one interruption. It is the only worker there is, so
at its start no lease is alive.
"""

from __future__ import annotations

import logging
import threading
from typing import Any

import celery
from celery.worker import WorkController, state
from django.conf import settings
from django.db import connections

from ingestion import jobs, pipeline, sweeper

logger = logging.getLogger(__name__)

celery_state: Any = state

STOP_SECONDS = 20.0
RESTART_SECONDS = 2.0


class EmbeddedWorker:
    """Two daemon threads. At most one a process, since Celery's shutdown flag is one a process."""

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._worker = threading.Thread(target=self._consume, name="ingestion-worker", daemon=True)
        self._sweeper = threading.Thread(target=self._sweep, name="ingestion-sweeper", daemon=True)

    def start(self) -> None:
        pipeline.ask_before_each_step(self._stop.is_set)
        celery_state.should_stop = None
        self._worker.start()
        self._sweeper.start()

    def stop(self, timeout: float = STOP_SECONDS) -> bool:
        """Ends both threads; the job in hand returns to the queue at its next step, at the latest when the
        parsing child has ended. True when they ended in time. Safe to call twice."""
        self._stop.set()
        celery_state.should_stop = 0
        for thread in (self._worker, self._sweeper):
            if thread.is_alive():
                thread.join(timeout)
        ended = not (self._worker.is_alive() or self._sweeper.is_alive())
        if ended:
            celery_state.should_stop = None
        return ended

    def _consume(self) -> None:
        try:
            jobs.interrupt_expired(sole_worker=True)
        except Exception:
            logger.exception("jobs of an earlier run wait for their lease")
        while not self._stop.is_set():
            try:
                _controller().start()
            except Exception:
                logger.exception("the worker ended; it starts again")
            finally:
                connections.close_all()
            self._stop.wait(RESTART_SECONDS)

    def _sweep(self) -> None:
        while not self._stop.is_set():
            wait = float(settings.ENV.sweep_seconds)
            try:
                sweeper.sweep()
                wait = sweeper.pause(longest=wait)
            except Exception:
                logger.exception("the sweep failed; it is tried again")
            finally:
                connections.close_all()
            self._stop.wait(wait)


def start_embedded_worker() -> EmbeddedWorker:
    """Starts the worker and the sweeper of this process; the caller stops them with ``stop()``."""
    worker = EmbeddedWorker()
    worker.start()
    return worker


def _controller() -> Any:
    """A Celery worker for a thread: no pool of processes, no signals, no other worker to talk to."""
    app: Any = celery.current_app
    app.loader.import_default_modules()
    return WorkController(
        app=app._get_current_object(),
        hostname="embedded@localhost",
        pool_cls="solo",
        concurrency=1,
        without_heartbeat=True,
        without_mingle=True,
        without_gossip=True,
    )
