"""Web, worker and beat end at once, with a sentence, when their settings are wrong."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CELERY = ["-m", "celery", "-A", "config.celery"]
COMMANDS = {
    "web": ["-m", "uvicorn", "config.asgi:application", "--port", "0"],
    "worker": [*CELERY, "worker", "--pool", "solo"],
    "beat": [*CELERY, "beat", "--schedule", "beat"],
}


@pytest.mark.parametrize("process", COMMANDS)
def test_a_process_without_its_secret_does_not_start(process: str, tmp_path: Path) -> None:
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("TESSERA_")},
        "TESSERA_MODE": "production",
        "TESSERA_VAR_DIR": str(tmp_path),
        "TESSERA_SECRET_KEY": "django-insecure-" + "a" * 40,
        "TESSERA_BROKER_URL": "redis://127.0.0.1:1/0",
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "PYTHONPATH": str(ROOT),
        "TMPDIR": str(tmp_path),
    }
    done = subprocess.run(
        [sys.executable, *COMMANDS[process]],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1, done.stderr
    assert "tessera.E011: The secret key is missing" in done.stderr
    assert "tessera.E013: Production needs PostgreSQL. Set TESSERA_DATABASE_URL." in done.stderr
    assert "Traceback" not in done.stderr
