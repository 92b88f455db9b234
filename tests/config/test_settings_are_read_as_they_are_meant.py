"""What an operator writes into a setting is what the product uses, or it is refused; nothing is dropped silently."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from config.env import Env

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("TESSERA_", "DEMO_", "PORT")):
            monkeypatch.delenv(name)


def settings_with(expression: str, folder: Path, **variables: str) -> str:
    """What ``expression`` is in a process of its own with these variables."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("TESSERA_")}
    ours = {f"TESSERA_{name.upper()}": value for name, value in variables.items()}
    done = subprocess.run(
        [sys.executable, "-c", f"from config.settings import *; print({expression})"],
        env={**kept, **ours, "TESSERA_VAR_DIR": str(folder)}, cwd=ROOT, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize(
    "name", sorted(name for name, field in Env.model_fields.items() if field.annotation is str)
)
def test_every_text_can_come_from_a_file_which_wins(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secret").write_text("from the file\n", encoding="utf-8")
    monkeypatch.setenv(f"TESSERA_{name.upper()}_FILE", str(tmp_path / "secret"))
    assert getattr(Env(), name) == "from the file"
    monkeypatch.setenv(f"TESSERA_{name.upper()}", "from the environment")
    assert getattr(Env(), name) == "from the file"


def test_a_file_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TESSERA_SECRET_KEY_FILE", "/nowhere/key")
    with pytest.raises(
        ValueError, match=r"TESSERA_SECRET_KEY_FILE names a file that cannot be read.*/nowhere/key"
    ):
        Env()


def test_the_whole_address_of_the_database_counts(tmp_path: Path) -> None:
    address = "postgresql://u%40x:p%2Fw@db:5433/na%20me?sslmode=verify-full&sslrootcert=%2Fca.pem"
    read = settings_with(
        "[DATABASES['default'][k] for k in ('USER', 'PASSWORD', 'HOST', 'PORT', 'NAME')], "
        "{k: v for k, v in DATABASES['default']['OPTIONS'].items() if k != 'pool'}",
        tmp_path,
        database_url=address,
    )
    assert read == (
        "['u@x', 'p/w', 'db', 5433, 'na me'] {'sslmode': 'verify-full', 'sslrootcert': '/ca.pem'}"
    )


def test_spaces_between_names_do_not_count(tmp_path: Path) -> None:
    read = settings_with(
        "ALLOWED_HOSTS, CSRF_TRUSTED_ORIGINS",
        tmp_path,
        allowed_hosts="a.example, b.example ,",
        trusted_origins="https://a.example, https://b.example",
    )
    assert read == "['a.example', 'b.example'] ['https://a.example', 'https://b.example']"


def test_the_state_of_the_embedded_mode_is_its_owners_alone(tmp_path: Path) -> None:
    settings_with("SECRET_KEY", tmp_path / "var")
    assert (tmp_path / "var").stat().st_mode & 0o077 == 0
    assert (tmp_path / "var" / "secret_key").stat().st_mode & 0o077 == 0
