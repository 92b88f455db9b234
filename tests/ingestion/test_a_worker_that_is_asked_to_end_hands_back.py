"""SIGTERM in the middle of a file: the worker ends at the next step, and its files wait in the queue unharmed."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PREPARE = """
import django; django.setup()
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import call_command
from ingestion.uploads import accept_upload
from tenants.models import Organization
call_command("migrate", verbosity=0)
acme = Organization.objects.create(slug="acme", name="Acme")
for n in range(2):
    text = "\\n\\n".join(f"## Part {p}\\n\\n" + f"Pump {n} of line {p} is oiled in winter. " * 20 for p in range(30))
    accept_upload(organization=acme, user=None, name=f"{n}.md", stream=SimpleUploadedFile("f", text.encode()))
"""
SWEEP = """
import django; django.setup()
from ingestion import sweeper
sweeper.sweep()
"""
JUDGE = """
import django, json; django.setup()
from search import reindex
from search.models import Document
from tenants.models import Organization
from tenants.scope import tenant_scope
acme = Organization.objects.get(slug="acme")
with tenant_scope(acme):
    published = Document.objects.filter(published__isnull=False).count()
found = reindex.audit(acme)
print(json.dumps([published, found.clean and not found.unpublished, found.points > 0]))
"""
JOBS = "SELECT status, attempts, interruptions, lease_token IS NULL, stage, done FROM ingestion_ingestionjob"


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("TESSERA_") or k == "TESSERA_MODELS_DIR"}
    return kept | {
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "TESSERA_VAR_DIR": str(tmp_path),
        "TESSERA_LOAD_MODELS": "false",
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
    }


def run(environment: dict[str, str], code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextmanager
def worker(environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    arguments = ["-m", "tests.ingestion.words_worker", "--pool", "solo", "--loglevel", "WARNING"]
    process = subprocess.Popen([sys.executable, *arguments], env=environment, cwd=ROOT)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def becomes(environment: dict[str, str], holds: Callable[[list[Any]], bool]) -> list[Any]:
    """The jobs once they are so."""
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        with closing(
            sqlite3.connect(f"{environment['TESSERA_VAR_DIR']}/tessera.sqlite3", timeout=20)
        ) as rows:
            jobs = list(rows.execute(JOBS))
        if holds(jobs):
            return jobs
        time.sleep(0.05)
    raise AssertionError(jobs)


@pytest.mark.slow
def test_nothing_is_counted_and_nothing_lost(environment: dict[str, str]) -> None:
    run(environment, PREPARE)
    with worker(environment) as asked:
        becomes(environment, lambda jobs: any(stage == "embedding" and done > 9 for *_, stage, done in jobs))
        asked.terminate()
        assert asked.wait(20) == 0
    states = becomes(environment, lambda jobs: True)
    assert [job[:4] for job in states] == [("queued", 0, 0, 1)] * 2
    run(environment, SWEEP)
    with worker(environment):
        states = becomes(environment, lambda jobs: all(job[0] == "ready" for job in jobs))
    assert [job[1:3] for job in states] == [(0, 0)] * 2
    assert json.loads(run(environment, JUDGE).splitlines()[-1]) == [2, True, True]
