"""Production's way: a worker process of its own, woken over Redis, working on rows in PostgreSQL."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest

ROOT = Path(__file__).resolve().parents[2]
DATABASE = "tessera_worker_test"

UPLOAD = """
import json, django; django.setup()
from django.core.files.uploadedfile import SimpleUploadedFile
from ingestion.uploads import accept_upload
from tenants.models import Organization
for slug in ("acme", "globex"):
    organization = Organization.objects.create(slug=slug, name=slug)
    for n in range(3):
        content = f"{slug} writes in file {n} about widget {n}.".encode()
        file = SimpleUploadedFile("f", content)
        accept_upload(organization=organization, user=None, name="f.txt", stream=file)
"""


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Settings of production with a database of its own, made for the test and dropped after it."""
    server = os.environ["TESSERA_TEST_POSTGRES_URL"]
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")
        connection.execute(f"CREATE DATABASE {DATABASE}")
    yield {
        **{k: v for k, v in os.environ.items() if not k.startswith("TESSERA_") or k == "TESSERA_MODELS_DIR"},
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "TESSERA_VAR_DIR": str(tmp_path),
        "TESSERA_SECRET_KEY": "only-for-this-test-" * 4,
        "TESSERA_DATABASE_URL": urlunsplit(urlsplit(server)._replace(path=f"/{DATABASE}")),
        "TESSERA_BROKER_URL": os.environ["TESSERA_TEST_REDIS_URL"],
        "TESSERA_SWEEP_SECONDS": "3600",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(ROOT),
    }
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")


def run(environment: dict[str, str], *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments], env=environment, cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def look(environment: dict[str, str]) -> tuple[list[str], int]:
    """The status of every job and the number of chunks, read past the product by a role that sees all rows."""
    with psycopg.connect(environment["TESSERA_DATABASE_URL"]) as rows:
        jobs = rows.execute("SELECT status FROM ingestion_ingestionjob").fetchall()
        chunks = rows.execute("SELECT count(*) FROM search_chunk").fetchall()
    return [status for (status,) in jobs], int(chunks[0][0])


@pytest.mark.postgres
@pytest.mark.redis
@pytest.mark.slow
def test_files_uploaded_by_one_process_are_read_by_a_worker_in_another(environment: dict[str, str]) -> None:
    run(environment, "manage.py", "migrate", "--verbosity", "0")
    worker = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "tests.ingestion.production_worker",
            "--pool",
            "solo",
            "--loglevel",
            "WARNING",
        ],
        env=environment,
        cwd=ROOT,
    )
    try:
        run(environment, "-c", UPLOAD)
        deadline = time.monotonic() + 150
        states: list[str] = []
        chunks = 0
        while time.monotonic() < deadline:
            states, chunks = look(environment)
            if set(states) == {"ready"}:
                break
            time.sleep(0.2)
        assert states == ["ready"] * 6
        assert chunks == 6
        assert worker.poll() is None
    finally:
        worker.terminate()
        try:
            worker.wait(30)
        except subprocess.TimeoutExpired:
            worker.kill()
            worker.wait()
