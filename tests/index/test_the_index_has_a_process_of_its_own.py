"""The child that holds the shards may be killed, and so may its parent: nothing is lost and nobody waits for ever."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from search.index.embedded import EmbeddedIndex
from search.index.errors import IndexClosed, IndexFailure, IndexLocked, IndexMismatch
from search.index.lock import IndexLock
from search.index.shard_process import ShardProcess, Turns
from tests.index.points import DIMENSION, EVERYTHING, point, unit

SERVE_AND_WAIT = """
import sys
from pathlib import Path
from search.index.embedded import EmbeddedIndex
from search.index.lock import IndexLock
from search.index.shard_process import ShardProcess
from tests.index.points import DIMENSION, point
home = Path(sys.argv[1])
lock = IndexLock(home / "lock")
lock.acquire()
keeper = ShardProcess(home, lock=lock, dimension=DIMENSION, most_open=2)
EmbeddedIndex(keeper, 1, dimension=DIMENSION).upsert([point(seed, "pump") for seed in range(300)])
print("written", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def index(keeper: ShardProcess) -> EmbeddedIndex:
    return EmbeddedIndex(keeper, 1, dimension=DIMENSION)


def test_the_child_knows_neither_django_nor_a_model(keeper: ShardProcess, index: EmbeddedIndex) -> None:
    index.ensure()
    assert keeper.pid is not None
    mapped = {Path(m.path).name for m in psutil.Process(keeper.pid).memory_maps()}
    assert any("qdrant_edge" in name for name in mapped)
    assert not any("torch" in name for name in mapped)
    code = "import sys, search.index.shard_child; print(any(m in sys.modules for m in ('django', 'torch')))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "False\n"


def test_a_child_that_is_killed_is_started_again_and_nothing_is_lost(
    keeper: ShardProcess, index: EmbeddedIndex
) -> None:
    index.upsert([point(seed, "pump") for seed in range(300)])
    first = keeper.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    assert index.ids() == {point(seed).id for seed in range(300)}
    assert keeper.pid not in (None, first)


def test_a_call_that_kills_the_child_twice_fails_and_the_next_one_works(
    keeper: ShardProcess, index: EmbeddedIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    index.upsert([point(1, "pump")])
    start = ShardProcess._start

    def start_and_kill(self: ShardProcess) -> object:
        connection = start(self)
        assert self.pid is not None
        os.kill(self.pid, signal.SIGKILL)
        return connection

    with monkeypatch.context() as deadly:
        deadly.setattr(ShardProcess, "_start", start_and_kill)
        assert keeper.pid is not None
        os.kill(keeper.pid, signal.SIGKILL)
        with pytest.raises(IndexFailure, match="ended twice"):
            index.count()
    assert index.count() == 1


def test_errors_arrive_as_what_they_are(tmp_path: Path, keeper: ShardProcess, index: EmbeddedIndex) -> None:
    index.ensure()
    with pytest.raises(ValueError, match="limit"):
        index.query(text="pump", dense=unit(1), filter=EVERYTHING, limit=0)
    with pytest.raises(ValueError, match="no 'close'"):
        keeper.call(1, "close")
    (tmp_path / "1" / "tessera.json").write_text('{"layout": 0, "dimension": 3, "average_length": 1}')
    keeper.close_one(1)
    with pytest.raises(IndexMismatch, match="layout 0") as refused:
        index.count()
    assert "manage.py reindex" in refused.value.hint


def test_after_the_end_every_call_is_refused(keeper: ShardProcess, index: EmbeddedIndex) -> None:
    index.ensure()
    child = psutil.Process(keeper.pid)
    keeper.close()
    keeper.close()
    assert not child.is_running()
    with pytest.raises(IndexClosed):
        index.count()


def test_the_lock_outlives_a_killed_parent_until_the_child_has_closed(tmp_path: Path) -> None:
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "config.settings"}
    parent = subprocess.Popen(
        [sys.executable, "-c", "import django; django.setup()\n" + SERVE_AND_WAIT, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    assert parent.stdout is not None
    assert parent.stdout.readline() == "written\n"
    (child,) = psutil.Process(parent.pid).children()
    child.suspend()  # as if it were long in closing
    parent.kill()
    parent.communicate()
    lock = IndexLock(tmp_path / "lock")
    threading.Timer(0.5, child.resume).start()
    begun = time.monotonic()
    lock.acquire()
    assert time.monotonic() - begun > 0.4
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE
    keeper = ShardProcess(tmp_path, lock=lock, dimension=DIMENSION, most_open=2)
    assert EmbeddedIndex(keeper, 1, dimension=DIMENSION).count() == 300
    keeper.close()
    lock.release()


BUILD_AND_WAIT = """
import sys
from pathlib import Path
from search.index.shard_process import ShardProcess
builder = ShardProcess(Path(sys.argv[1]), lock=None, dimension=8, most_open=1)
builder.create(1, 50.0)
print("built", flush=True)
sys.stdin.read()
"""


def test_who_builds_an_index_ends_with_its_parent_even_within_a_call(tmp_path: Path) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", BUILD_AND_WAIT, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None
    assert parent.stdout.readline() == "built\n"
    (child,) = psutil.Process(parent.pid).children()
    child.suspend()  # as in a call that takes half a minute
    parent.kill()
    parent.communicate()
    psutil.wait_procs([child], timeout=10)
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


def test_a_living_holder_is_not_waited_for(tmp_path: Path) -> None:
    held = IndexLock(tmp_path / "lock")
    held.acquire()
    begun = time.monotonic()
    with pytest.raises(IndexLocked):
        IndexLock(tmp_path / "lock").acquire()
    assert time.monotonic() - begun < 5
    held.release()


def test_another_thread_runs_on_while_the_index_works(index: EmbeddedIndex, keeper: ShardProcess) -> None:
    index.ensure()
    assert keeper.pid is not None
    child = psutil.Process(keeper.pid)
    child.suspend()  # a call that takes long
    done = threading.Event()

    def count() -> None:
        index.count()
        done.set()

    asking = threading.Thread(target=count)
    asking.start()
    steps = 0
    deadline = time.monotonic() + 0.3
    while time.monotonic() < deadline:
        time.sleep(0.001)
        steps += 1
    assert not done.is_set()
    child.resume()
    asking.join(20)
    assert done.is_set()
    assert steps > 20


def test_turns_are_taken_in_the_order_of_asking() -> None:
    turns, order, waiting = Turns(), [], []
    with turns.next():
        for number in range(5):

            def ask(number: int = number) -> None:
                with turns.next():
                    order.append(number)

            thread = threading.Thread(target=ask)
            thread.start()
            waiting.append(thread)
            while len(turns._waiting) <= number:
                time.sleep(0.001)
    for thread in waiting:
        thread.join()
    assert order == [0, 1, 2, 3, 4]
