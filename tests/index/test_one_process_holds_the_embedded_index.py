"""A second process, a forked child or an object without the lock is refused before it touches a shard."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import pytest

from search.index.edge import EdgeIndex
from search.index.errors import IndexClosed, IndexLocked
from search.index.lock import IndexLock
from tests.index.points import DIMENSION, point

HOLD = """
import sys
from pathlib import Path
from search.index.lock import IndexLock
lock = IndexLock(Path(sys.argv[1]))
lock.acquire()
print("held", flush=True)
sys.stdin.read()
"""


def test_the_lock_of_another_process_is_respected_and_names_it(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "config.settings"}
    holder = subprocess.Popen(
        [sys.executable, "-c", "import django; django.setup()\n" + HOLD, str(file)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(IndexLocked, match=f"process {holder.pid}") as refused:
            IndexLock(file).acquire()
        assert "Stop the running product" in refused.value.hint
    finally:
        holder.communicate("")
    lock = IndexLock(file)
    lock.acquire()
    assert lock.held
    lock.release()
    assert not lock.held


def test_without_the_lock_nothing_is_opened(tmp_path: Path) -> None:
    lock = IndexLock(tmp_path / "lock")
    index = EdgeIndex(tmp_path / "acme", lock=lock, dimension=DIMENSION)
    for act in (index.ensure, index.count, index.drop, lambda: index.upsert([point(1)])):
        with pytest.raises(IndexLocked):
            act()
    assert not (tmp_path / "acme").exists()


def test_a_refused_attempt_does_not_disturb_the_holder(tmp_path: Path) -> None:
    lock = IndexLock(tmp_path / "lock")
    lock.acquire()
    index = EdgeIndex(tmp_path / "acme", lock=lock, dimension=DIMENSION)
    index.upsert([point(1, "pump")])
    second = IndexLock(tmp_path / "lock")
    with pytest.raises(IndexLocked):
        second.acquire()
    with pytest.raises(IndexLocked):
        EdgeIndex(tmp_path / "acme", lock=second, dimension=DIMENSION).ensure()
    index.upsert([point(2, "pump")])
    index.flush()
    assert index.count() == 2
    index.close()
    lock.release()


def test_a_forked_child_is_refused_instead_of_hanging(tmp_path: Path) -> None:
    lock = IndexLock(tmp_path / "lock")
    lock.acquire()
    index = EdgeIndex(tmp_path / "acme", lock=lock, dimension=DIMENSION)
    index.upsert([point(1, "pump")])
    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()

    def ask() -> None:
        try:
            answers.put(str(index.count()))
        except IndexClosed as refused:
            answers.put(f"refused: {refused}")

    child = context.Process(target=ask)
    child.start()
    child.join(20)
    hanging = child.is_alive()
    child.kill()
    assert not hanging
    assert "refused" in answers.get()
    assert index.count() == 1
    index.close()
    lock.release()
