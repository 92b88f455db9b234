"""A worker that is killed leaves no parsing child behind, and the child's folder does not stay for good."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil
import pytest

from ingestion import child
from ingestion.child_process import SCRATCH
from ingestion.guards import IngestionFailure, Limits

ROOT = Path(__file__).resolve().parents[2]
PARENT = """
import sys
from pathlib import Path
from ingestion.child import parse_file
from ingestion.child_process import SCRATCH
from ingestion.guards import Limits
from ingestion import forking
if sys.argv[2] == "program":
    forking.fork = lambda **_: None
parse_file(Path(sys.argv[1]), filename="a.txt", limits=Limits(wall_s=60))
"""


@pytest.fixture
def endless(tmp_path: Path) -> Path:
    """A file whose reading never ends: a pipe that nobody writes to."""
    path = tmp_path / "endless"
    os.mkfifo(path)
    return path


def children(pid: int) -> list[psutil.Process]:
    """The children that read: forks of the nursery, and those that have an interpreter of their own."""
    found = psutil.Process(pid).children(recursive=True)
    return [p for p in found if "ingestion.parse_child" in p.cmdline() or p.ppid() != pid]


def first_child(pid: int) -> psutil.Process:
    deadline = time.monotonic() + 20
    while not (found := children(pid)):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found[0]


@pytest.mark.parametrize("way", ["fork", "program"])
@pytest.mark.parametrize("after_s", [0.0, 1.5])
def test_a_child_dies_when_its_parent_is_killed(
    endless: Path, tmp_path: Path, after_s: float, way: str
) -> None:
    """At once while it reads, and also before it has set anything up."""
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(endless), way],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path), "DJANGO_SETTINGS_MODULE": "config.settings"},
    )
    reading = first_child(parent.pid)
    time.sleep(after_s)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    killed = time.monotonic()
    while reading.is_running() and reading.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() - killed < 5, "the child lives on"
        time.sleep(0.02)


def test_a_child_does_not_depend_on_the_thread_that_started_another(endless: Path, tmp_path: Path) -> None:
    """Threads start and end beside a child that goes on reading, and take nothing of it with them."""
    file = tmp_path / "file"
    file.write_bytes(b"Some words.")
    outcome: list[str] = []

    def read_without_end() -> None:
        try:
            child.parse_file(endless, filename="a.txt", limits=Limits(wall_s=4))
        except IngestionFailure as failure:
            outcome.append(failure.code)

    slow = threading.Thread(target=read_without_end)
    slow.start()
    first_child(os.getpid())
    for _ in range(3):
        quick = threading.Thread(
            target=lambda: outcome.append(
                child.parse_file(file, filename="b.txt", limits=Limits()).pages[0].text
            )
        )
        quick.start()
        quick.join()
    assert slow.is_alive()
    slow.join()
    assert outcome == ["Some words."] * 3 + ["timeout"]


def test_the_folder_of_a_child_whose_parent_was_killed_is_removed_once_it_is_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    left, other = tmp_path / f"{SCRATCH}abc", tmp_path / "tessera-another"
    for folder in (left, other):
        folder.mkdir()
        (folder / "attachment").write_bytes(b"x")
    now = time.time()
    assert child.remove_left_overs(now=now) == 0
    assert child.remove_left_overs(now=now + 10_000) == 1
    assert not left.exists()
    assert other.exists()
