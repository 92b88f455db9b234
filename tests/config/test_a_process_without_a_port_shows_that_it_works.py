"""The heartbeat of worker and beat: fresh is well, old or missing is not, and a long step is no silence."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

import pytest

from config import heartbeat
from config.env import env
from config.heartbeat import Process

BOTH: list[Process] = ["worker", "beat"]


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def silent_for(process: Process, seconds: float) -> None:
    heartbeat.touch(process)
    (file,) = Path(tempfile.gettempdir()).glob(f"*{process}*")
    then = time.time() - seconds
    os.utime(file, (then, then))


def status(process: Process) -> object:
    with pytest.raises(SystemExit) as ended:
        heartbeat.check(process)
    return ended.value.code


@pytest.mark.parametrize("process", BOTH)
def test_a_process_that_works_is_well(process: Process) -> None:
    heartbeat.touch(process)
    assert status(process) is None


@pytest.mark.parametrize("process", BOTH)
def test_a_process_that_never_began_is_not_well(process: Process) -> None:
    assert status(process) == f"The {process} has not begun to work."


@pytest.mark.parametrize("process", BOTH)
def test_a_process_that_hangs_is_found(process: Process) -> None:
    silent_for(process, 3600)
    assert str(status(process)).startswith(f"The {process} has done nothing for 3600 s")


def test_a_file_may_be_parsed_for_as_long_as_the_settings_allow() -> None:
    silent_for("worker", env().parse_wall_seconds + 10)
    assert status("worker") is None


def test_one_process_does_not_speak_for_the_other() -> None:
    heartbeat.touch("worker")
    assert status("beat") is not None
