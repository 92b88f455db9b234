"""`manage.py evaluate SUITE`: questions with known answers, asked as a user asks them, and how good the answers are."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError

from config import one_process
from config.env import env
from config.runtime import runtime_config, start_runtime
from inference import runtime
from inference.runtime import Runtime
from ingestion.evaluating import IngestionPublisher
from search.evaluation import jobs, own, suites
from search.evaluation.corpora import organization_of
from search.evaluation.models import EvaluationRun
from search.evaluation.suites import SuiteError
from search.index import IndexFailure, claim, close_all
from search.management import organizations
from tenants.models import Organization


class Command(BaseCommand):
    help = "Asks a suite's questions, or an organisation's own, and prints how good the answers are."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "suite",
            nargs="?",
            help="A folder, or a name below TESSERA_EVALUATION_FOLDER; with --organization a file of questions, or nothing: "
            "those that it keeps.",
        )
        parser.add_argument("--organization", metavar="SLUG", help="Ask its own documents.")
        parser.add_argument("--json", action="store_true", help="Print one JSON object.")
        parser.add_argument(
            "--split", choices=["all", "dev", "held"], default="all", help="Half of the questions."
        )
        parser.add_argument("--limit", type=int, default=0, help="Most questions; the same ones each time.")
        parser.add_argument("--retrieval-only", action="store_true", help="Rank documents; write no answers.")
        parser.add_argument(
            "--oracle", action="store_true", help="Search only the documents with the answer."
        )
        parser.add_argument(
            "--model", default="", help="The language model; that of the settings when left out."
        )
        parser.add_argument("--threads", type=int, default=jobs.THREADS, help="Questions at a time.")

    def handle(self, *args: Any, **options: Any) -> None:
        asked = {
            name: options[name] for name in ("split", "limit", "retrieval_only", "oracle", "model", "threads")
        }
        if asked["limit"] < 0 or not 0 < asked["threads"] <= jobs.MOST_THREADS:
            raise CommandError(f"--limit is not negative, --threads is 1 to {jobs.MOST_THREADS}.")
        try:
            run = self._run(options["suite"], options["organization"], asked)
        except (SuiteError, IndexFailure) as error:
            raise CommandError(f"{error} {error.hint}") from error
        if run.status != EvaluationRun.Status.DONE:
            raise CommandError(f"The run has failed. {run.error}")
        self._print(run, as_json=options["json"])

    def _run(self, suite: str | None, slug: str | None, asked: dict[str, Any]) -> EvaluationRun:
        source = suites.find(suite, env().evaluation_folder) if suite else None
        with alone() as free:
            if free and env().mode == "embedded":
                call_command("migrate", interactive=False, verbosity=0)
            organization, name = self._whose(source, slug)
            asked |= {"source": str(source) if source else ""}
            if not free:
                self._say("The product runs: it is asked to do this.")
                queued = jobs.queue(organization, suite=name, options=asked)
                return jobs.wait_for(queued, self._say, gone=_nobody_works)
            with models_for(asked) as models:
                run = jobs.begin_here(organization, suite=name, options=asked)
                publisher = IngestionPublisher(works_itself=env().mode == "embedded")
                return jobs.work(run, models=models, publisher=publisher, say=self._say)

    def _whose(self, source: Path | None, slug: str | None) -> tuple[Organization, str]:
        if slug is not None:
            organization = organizations.chosen(slug)[0]
            return organization, own.suite_of(organization, source).name
        if source is None:
            raise SuiteError("Name a suite, or an organisation.")
        return organization_of(suites.read(source).name), source.name

    def _say(self, line: str) -> None:
        self.stderr.write(line)

    def _print(self, run: EvaluationRun, *, as_json: bool) -> None:
        shown = {
            "suite": run.suite,
            **{name: run.options[name] for name in ("split", "limit", "retrieval_only", "oracle", "threads")},
            "model": run.model,
            "embedder": run.embedder,
            "date": run.created_at.isoformat(timespec="seconds"),
            "duration_s": run.duration_s,
            **run.metrics,
        }
        if as_json:
            self.stdout.write(json.dumps({**shown, "run": str(run.id), "configuration": run.configuration}))
            return
        for name, value in shown.items():
            self.stdout.write(f"{name:20} {value}")


def _nobody_works() -> bool:
    try:
        one_process.take("look").close()
    except one_process.Held:
        return False
    return True


@contextmanager
def alone() -> Iterator[bool]:
    """Whether this process may work by itself: in the embedded mode only where the product does not run. Raises
    ``CommandError`` where another evaluation works."""
    if env().mode == "production":
        yield True
        return
    try:
        lock = one_process.take("evaluate")
    except one_process.Held as held:
        if held.role == "evaluate":
            raise CommandError(
                f"Another evaluation works on this folder (process {held}): wait until it has ended."
            ) from held
        yield False
        return
    try:
        claim()
        yield True
    finally:
        close_all()
        lock.close()


@contextmanager
def models_for(asked: dict[str, Any]) -> Iterator[Runtime]:
    """The models that a run needs, loaded until the end of the block. Raises ``CommandError``."""
    config = runtime_config()
    if asked["retrieval_only"]:
        config = replace(config, generator="", routes=())
    elif asked["model"] and not config.routes:
        config = replace(config, generator=asked["model"])
    running = start_runtime(config)
    try:
        if running.wait() != "ready":
            raise CommandError(running.detail)
        yield running
    finally:
        running.stop()
        runtime.uninstall()
