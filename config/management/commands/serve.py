"""`manage.py serve`: the whole product in one process, with embedded defaults."""

from __future__ import annotations

import gc
import signal
import socket
import sys
import threading
import time
from argparse import ArgumentParser
from typing import Any, NoReturn, TextIO

import uvicorn
from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError

from config import one_process
from config.demo_data import demo_password, seed
from config.env import env
from config.runtime import start_runtime
from inference import runtime
from ingestion import worker
from ingestion.evaluating import IngestionPublisher
from search.evaluation.jobs import EvaluationThread
from search.index import opening
from search.maintenance import MaintenanceThread
from search.rebuilding import Watch


class Command(BaseCommand):
    help = "Runs migrations, then the web server, the worker, the sweeper and the models in one process."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--host", default=env().host)
        parser.add_argument("--port", type=int, default=env().port)
        parser.add_argument("--demo", action="store_true", help="Create the demo organisations first.")

    def handle(self, *args: Any, **options: Any) -> None:
        if env().mode == "production":
            raise CommandError(
                "`serve` is the embedded mode. In production start web, worker, beat and inference apart."
            )
        lock = self._lock()
        listener = _listener(options["host"], options["port"])
        signal.signal(signal.SIGTERM, _interrupt)  # ends like Ctrl-C, so that everything is closed
        try:
            self._serve(listener, options)
        except KeyboardInterrupt:
            pass
        finally:
            listener.close()
            runtime.uninstall()
            opening.close_all()
            lock.close()
            gc.freeze()  # the interpreter's last collection otherwise walks every module for seconds
            self.stdout.write("Tessera has stopped. `make run` starts it again.")

    def _serve(self, listener: socket.socket, options: dict[str, Any]) -> None:
        call_command("migrate", interactive=False, verbosity=0)
        if options["demo"]:
            seed()
        started = time.monotonic()
        running = start_runtime() if env().load_models else None
        if running is not None:
            threading.Thread(target=self._report, args=(running, started), daemon=True).start()
        embedded_worker = worker.start_embedded_worker()
        keeper = MaintenanceThread(Watch().look)
        keeper.start()
        evaluations = EvaluationThread(IngestionPublisher(works_itself=False))
        evaluations.start()
        self._greet(options["host"], options["port"], demo=options["demo"])
        config = uvicorn.Config(
            "config.asgi:application", log_level="warning", lifespan="off", timeout_graceful_shutdown=5
        )
        try:
            uvicorn.Server(config).run(sockets=[listener])
        finally:
            evaluations.stop()
            keeper.stop()
            embedded_worker.stop()
            if running is not None:
                running.stop()

    def _report(self, running: runtime.Runtime, started: float) -> None:
        running.wait()
        seconds = time.monotonic() - started
        self.stdout.write(f"  {running.state.capitalize()} after {seconds:.1f} s. {running.detail}")
        self.stdout.flush()

    def _lock(self) -> TextIO:
        """One serving process per var/: the embedded index has one owner."""
        try:
            return one_process.take("serve")
        except one_process.Held as held:
            raise CommandError(
                f"Tessera already runs on {settings.VAR} (process {held}). "
                "Stop it first, or set TESSERA_VAR_DIR to another folder."
            ) from None

    def _greet(self, host: str, port: int, *, demo: bool) -> None:
        lines = ["", f"  Tessera   http://{host}:{port}", ""]
        if demo:
            lines += [
                "  Sign in   alice or bob (Acme Robotics), charlie (Globex Energy)",
                f"  Password  {demo_password()}",
            ]
        lines += ["  Stop      Ctrl-C", "", "  The page answers now; the models load behind it.", ""]
        self.stdout.write("\n".join(lines))
        sys.stdout.flush()


def _listener(host: str, port: int) -> socket.socket:
    """The address, taken before anything is written or loaded. Raises ``CommandError`` when it cannot be had."""
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen()
    except OSError as error:
        listener.close()
        raise CommandError(
            f"Tessera cannot listen on {host}, port {port}: {error.strerror}. "
            "Stop what uses it, or take another port: `make run PORT=8001`."
        ) from None
    return listener


def _interrupt(number: int, frame: Any) -> NoReturn:
    raise KeyboardInterrupt
