"""A secret of the machine is made once, also by processes that start together or after one that died."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from config.kept_secret import kept_secret

ROOT = Path(__file__).resolve().parents[2]
ASK = "import pathlib, sys; from config.kept_secret import kept_secret; print(kept_secret(pathlib.Path(sys.argv[1]), 32))"


def test_it_is_made_and_found_again(tmp_path: Path) -> None:
    file = tmp_path / "key"
    made = kept_secret(file, 32)
    assert len(made) == 43
    assert kept_secret(file, 32) == made != kept_secret(tmp_path / "other", 32)
    assert file.stat().st_mode & 0o777 == 0o600
    assert sorted(each.name for each in tmp_path.iterdir()) == ["key", "other"]


def test_processes_that_start_together_get_the_same(tmp_path: Path) -> None:
    started = [
        subprocess.Popen(
            [sys.executable, "-c", ASK, str(tmp_path / "key")], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        for _ in range(8)
    ]
    told = {process.communicate(timeout=30)[0] for process in started}
    assert len(told) == 1
    assert told != {"\n"}


def test_an_empty_file_of_a_process_that_died_is_filled(tmp_path: Path) -> None:
    (tmp_path / "key").touch(mode=0o600)
    made = kept_secret(tmp_path / "key", 32)
    assert made
    assert kept_secret(tmp_path / "key", 32) == made
