"""Killed three times in the middle of ten files, the worker finishes all ten, once each."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.job_rows import statuses

ROOT = Path(__file__).resolve().parents[2]
FILES = 10

PREPARE = (
    f"FILES = {FILES}"
    + """
import django; django.setup()
from django.core.files.uploadedfile import SimpleUploadedFile
from ingestion.uploads import accept_upload
from tenants.models import Organization
acme = Organization.objects.create(slug="acme", name="Acme")
for n in range(FILES):
    text = "\\n\\n".join(
        f"## Part {p}\\n\\nFile {n} says in part {p} that widget {n * p} weighs {n + p} kilograms."
        for p in range(40)
    )
    accept_upload(organization=acme, user=None, name=f"{n}.md", stream=SimpleUploadedFile("f", text.encode()))
"""
)

COMPARE = """
import json, django; django.setup()
from search import reindex
from search.models import Chunk, Document, DocumentVersion
from tenants.models import Organization
from tenants.scope import tenant_scope
acme = Organization.objects.get(slug="acme")
with tenant_scope(acme):
    chunks = Chunk.objects.count()
    published = Document.objects.filter(published__isnull=False).count()
    versions = DocumentVersion.objects.count()
found = reindex.audit(acme)
print(json.dumps({
    "published": published, "versions": versions, "rows": chunks, "points": found.points,
    "same_ids_and_vector_hashes": found.clean and not found.unpublished,
}))
"""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return {
        **{k: v for k, v in os.environ.items() if not k.startswith("TESSERA_") or k == "TESSERA_MODELS_DIR"},
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "TESSERA_VAR_DIR": str(tmp_path),
        "TESSERA_SWEEP_SECONDS": "2",
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
    }


def run(environment: dict[str, str], *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments], env=environment, cwd=ROOT, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextmanager
def worker(environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.ingestion.worker_process"],
        env=environment,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "ready"
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_worker_killed_three_times_loses_and_doubles_nothing(environment: dict[str, str]) -> None:
    var = Path(environment["TESSERA_VAR_DIR"])
    run(environment, "manage.py", "migrate", "--verbosity", "0")
    run(environment, "-c", PREPARE)
    ready: list[int] = []
    killed_in_work = 0
    for _ in range(3):
        with worker(environment) as process:
            wanted = (ready[-1] if ready else 0) + 1
            deadline = time.monotonic() + 120
            while time.monotonic() < deadline:
                now = statuses(var)
                done, working = now.count("ready"), now.count("processing")
                if done >= wanted and working:
                    break
                time.sleep(0.02)
            process.send_signal(signal.SIGKILL)
            process.wait()
            now = statuses(var)
            killed_in_work += "processing" in now
            ready.append(now.count("ready"))
    assert killed_in_work, "at least one kill must have hit a job in work"
    assert ready[0] < FILES
    with worker(environment):
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline:
            now = statuses(var)
            if now == ["ready"] * FILES:
                break
            time.sleep(0.2)
    assert now == ["ready"] * FILES
    found = json.loads(run(environment, "-c", COMPARE).splitlines()[-1])
    assert found["published"] == found["versions"] == FILES
    assert found["same_ids_and_vector_hashes"]
    assert found["points"] == found["rows"] > FILES
