"""In production a worker does the runs that a web process queued: asked to end it hands its run back, killed it loses none.

The installation of :mod:`tests.production.test_the_compose_file_runs`, with its own model.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest

from tests.production.installation import NAME, Installation, installed, until

pytestmark = [pytest.mark.postgres, pytest.mark.redis, pytest.mark.slow, pytest.mark.timeout(900)]
QUESTIONS = 8
PREPARE = f"""
from django.core.files.uploadedfile import SimpleUploadedFile
from ingestion.uploads import accept_upload
from search.evaluation import jobs, own
from tenants.models import Organization
acme = Organization.objects.create(slug="acme", name="Acme")
text = b"The pump of hall seven is greased every ninety days. It was built in Oslo by the company Halvorsen."
accept_upload(organization=acme, user=None, name="pump.md", stream=SimpleUploadedFile("pump.md", text))
lines = [f"How often is the pump of hall seven greased (asks worker {{n}})?" for n in range({QUESTIONS})]
own.add(acme, own.read_file("q.csv", "\\n".join(["question", *lines]).encode()))
"""
QUEUE = """
from search.evaluation import jobs, own
from tenants.models import Organization
acme = Organization.objects.get(slug="acme")
jobs.queue(acme, suite=own.suite_of(acme).name, options={"threads": 1})
"""


def rows(statement: str) -> list[tuple[Any, ...]]:
    """Read and written past the product, by the superuser, whom no policy binds."""
    server = urlsplit(os.environ["TESSERA_TEST_POSTGRES_URL"])
    with psycopg.connect(urlunsplit(server._replace(path=f"/{NAME}"))) as connection:
        done = connection.execute(statement.encode())
        return list(done.fetchall()) if done.description else []


def run() -> tuple[str, int, int, str, Any]:
    """Status, attempts, total, error and metrics of the only run."""
    ((status, attempts, total, error, metrics),) = rows(
        "SELECT status, attempts, total, error, metrics FROM search_evaluationrun"
    )
    return status, attempts, total, error, metrics if isinstance(metrics, dict) else json.loads(metrics)


def until_asking(site: Installation) -> None:
    def asks() -> bool:
        status, _, total, error, _ = run()
        assert status in ("queued", "running"), (status, error)
        return status == "running" and total == QUESTIONS

    until(asks, 120, lambda: f"{run()}\n{site.log('worker')}")


def test_a_queued_run_is_done_though_its_workers_end_and_die(tmp_path: Path) -> None:
    with installed(tmp_path) as site:
        site.manage("shell", "-c", PREPARE)
        until(
            lambda: rows("SELECT status FROM ingestion_ingestionjob") == [("ready",)],
            120,
            lambda: site.log("worker"),
        )
        site.manage("shell", "-c", QUEUE)

        until_asking(site)
        assert site.terminate("worker", 100) == 0
        assert run()[:2] == ("queued", 0)

        site.start("worker")
        until_asking(site)
        site.kill("worker")
        assert run()[:2] == ("running", 1)
        rows("UPDATE search_evaluationrun SET heartbeat_at = now() - interval '2 minutes'")

        site.start("worker")
        until(lambda: run()[0] in ("done", "failed"), 400, lambda: f"{run()}\n{site.log('worker')}")
        status, attempts, _, error, metrics = run()
        assert (status, error, attempts) == ("done", "", 2)
        assert metrics["questions"] == QUESTIONS
        assert metrics["failed"] == 0
        numbers = rows("SELECT number FROM search_evaluationresult ORDER BY number")
        assert numbers == [(n,) for n in range(1, QUESTIONS + 1)]
        assert "Traceback" not in site.log("worker")
