"""Readers are forks of one small process: as limited and as alone as programs of their own, and replaced when it dies."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from ingestion import child_process, forking, nursery
from ingestion.child import parse_file
from ingestion.guards import IngestionFailure, Limits
from tests.ingestion import factories

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(b"Some words.")
    return path


@pytest.fixture
def endless(tmp_path: Path) -> Path:
    """A file whose reading never ends: a pipe that nobody writes to."""
    path = tmp_path / "endless"
    os.mkfifo(path)
    return path


def read(path: Path, limits: Limits | None = None) -> str:
    return parse_file(path, filename="a.txt", limits=limits or Limits()).pages[0].text


def running_nursery() -> psutil.Process:
    pid = forking.nursery_pid()
    assert pid is not None
    return psutil.Process(pid)


def opened_by(process: psutil.Process) -> list[str]:
    """What the descriptors of a process are, without numbers and names: a kind for each."""
    links = [str(each.readlink()) for each in Path(f"/proc/{process.pid}/fd").iterdir()]
    return sorted(re.split(r":|#|\d| ", link.replace("/tmp/", "/tmp:"))[0] for link in links)


def fork_at_work() -> psutil.Process:
    deadline = time.monotonic() + 20
    while not (forking.nursery_pid() and (found := running_nursery().children())):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return found[0]


def test_one_nursery_forks_every_reader_and_keeps_none(text: Path) -> None:
    assert read(text) == "Some words."
    first = running_nursery().pid
    assert [read(text) for _ in range(3)] == ["Some words."] * 3
    assert running_nursery().pid == first
    assert running_nursery().children() == []
    assert running_nursery().num_threads() == 1


def test_the_nursery_has_nothing_of_ours_or_of_a_file(endless: Path, tmp_path: Path) -> None:
    """No secret in its environment, no library with threads, and, while a fork reads, none of its descriptors."""
    reader = threading.Thread(target=_let_read, args=(endless, Limits(wall_s=1)))
    reader.start()
    fork_at_work()
    held = running_nursery()
    assert {name for name in held.environ() if name.startswith(("TESSERA", "DJANGO"))} == set()
    mapped = {Path(each.path).name for each in held.memory_maps()}
    assert not [name for name in mapped if "torch" in name or "openblas" in name]
    assert set(opened_by(held)) <= {"/dev/null", "socket", "anon_inode"}
    reader.join()


def test_a_fork_is_limited_as_a_program_is(endless: Path) -> None:
    limits = Limits(wall_s=2, memory_mb=300, cpu_s=7)
    found: list[dict[str, object]] = []
    for way in (True, False):
        reader = threading.Thread(target=_let_read, args=(endless, limits), kwargs={"fork": way})
        reader.start()
        child = _reader_that_is_set_up()
        found.append(
            {
                "memory": child.rlimit(psutil.RLIMIT_AS),
                "cpu": child.rlimit(psutil.RLIMIT_CPU),
                "files": child.rlimit(psutil.RLIMIT_NOFILE),
                "written": child.rlimit(psutil.RLIMIT_FSIZE),
                "nice": child.nice(),
                "its own session": os.getsid(child.pid) == child.pid,
                "folder": child.cwd(),
                "open": opened_by(child),
            }
        )
        reader.join()
    assert found[0] == found[1]
    assert found[0]["memory"] == (300 << 20, 300 << 20)


def _let_read(path: Path, limits: Limits, *, fork: bool = True) -> None:
    request = {"act": "parse", "path": str(path), "filename": "a.txt", "password": None}
    with pytest.raises(IngestionFailure):
        child_process._body(request, limits, fork=fork)


def _reader_that_is_set_up() -> psutil.Process:
    """The child that has limited itself, and waits for its file."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        for child in psutil.Process().children(recursive=True):
            if child.pid != forking.nursery_pid() and child.rlimit(psutil.RLIMIT_NOFILE)[0] == 64:
                return child
        time.sleep(0.01)
    raise AssertionError("nobody reads")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, "too_large"), (signal.SIGSEGV, "malformed")])
def test_a_fork_that_dies_is_a_failure_of_its_file_alone(
    endless: Path, text: Path, number: signal.Signals, code: str
) -> None:
    codes: list[str] = []

    def fail() -> None:
        with pytest.raises(IngestionFailure) as failure:
            read(endless, Limits(wall_s=30))
        codes.append(failure.value.code)

    reader = threading.Thread(target=fail)
    reader.start()
    child = fork_at_work()
    first = running_nursery().pid
    child.send_signal(number)
    reader.join()
    assert codes == [code]
    assert read(text) == "Some words."
    assert running_nursery().pid == first


def test_a_fork_that_takes_too_long_is_gone_when_that_is_told(endless: Path) -> None:
    with pytest.raises(IngestionFailure) as failure:
        read(endless, Limits(wall_s=1))
    assert failure.value.code == "timeout"
    assert running_nursery().children() == []


def test_a_nursery_that_dies_costs_no_file(endless: Path, text: Path) -> None:
    """The file in hand is read again, by a program of its own; the next file has a new nursery."""
    outcome: list[str] = []

    def wait_for_words() -> None:
        outcome.append(read(endless, Limits(wall_s=30)))

    reader = threading.Thread(target=wait_for_words)
    reader.start()
    child, first = fork_at_work(), running_nursery()
    endless.unlink()
    endless.write_bytes(b"Words in the end.")
    first.kill()
    reader.join()
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE
    assert outcome == ["Words in the end."]
    assert read(text) == "Some words."
    assert running_nursery().pid != first.pid


def test_a_nursery_that_cannot_live_is_done_without(text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forking, "_nurseries", forking._Nurseries())
    monkeypatch.setattr(forking, "MODULE", "ingestion.nothing")
    assert [read(text) for _ in range(2 * forking.ENDS_AT_MOST)] == ["Some words."] * 2 * forking.ENDS_AT_MOST
    assert forking.nursery_pid() is None


def test_a_process_that_was_forked_has_a_nursery_of_its_own(text: Path) -> None:
    read(text)
    source = """
import json, os, sys
from pathlib import Path
from ingestion import forking
from ingestion.child import parse_file
from ingestion.guards import Limits
def read():
    parse_file(Path(sys.argv[1]), filename="a.txt", limits=Limits())
    return forking.nursery_pid()
first = read()
out, into = os.pipe()
if os.fork() == 0:
    os.write(into, str(read()).encode())
    os._exit(0)
second = int(os.read(out, 20))
print(json.dumps([first, second, read()]))
"""
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "config.settings"}
    ran = subprocess.run(
        [sys.executable, "-c", source, str(text)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    first, second, again = json.loads(ran.stdout)
    assert first == again != second
    for pid in (first, second):
        deadline = time.monotonic() + 5
        while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < deadline, "a nursery outlives its parent"
            time.sleep(0.02)


def test_what_is_preloaded_starts_no_thread_and_is_what_readers_need(tmp_path: Path) -> None:
    source = "import sys\nfrom ingestion import nursery\nfor name in nursery.PRELOADED: __import__(name)\n"
    source += "import os; print(len(os.listdir('/proc/self/task')), *sorted({'django', 'torch', 'numpy'} & set(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", source], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["1"]
    path = tmp_path / "a.pdf"
    path.write_bytes(factories.make_pdf(["the vault"]))
    assert parse_file(path, filename="a.pdf", limits=Limits()).pages[0].text == "the vault"
    assert nursery.PRELOADED
