"""What was flushed is there after a reopening; a creation that was interrupted begins anew."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from search.index.edge import EdgeIndex
from search.index.errors import IndexMismatch
from search.index.lock import IndexLock
from tests.index.points import DIMENSION, EVERYTHING, point, unit

WRITE_AND_DIE = """
import os, signal, sys
from pathlib import Path
from search.index.edge import EdgeIndex
from search.index.lock import IndexLock
from tests.index.points import DIMENSION, point
lock = IndexLock(Path(sys.argv[1]) / "lock")
lock.acquire()
index = EdgeIndex(Path(sys.argv[1]) / "acme", lock=lock, dimension=DIMENSION)
index.upsert([point(seed, "pump") for seed in range(700)])
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def lock(tmp_path: Path) -> IndexLock:
    lock = IndexLock(tmp_path / "lock")
    lock.acquire()
    return lock


def test_points_are_found_after_a_reopening(tmp_path: Path, lock: IndexLock) -> None:
    points = [point(seed, f"valve number {seed}", dated=seed) for seed in range(50)]
    first = EdgeIndex(tmp_path / "acme", lock=lock, dimension=DIMENSION, average_length=40)
    first.upsert(points)
    before = first.query(text="valve 7", dense=unit(7), filter=EVERYTHING, limit=5)
    first.close()
    second = EdgeIndex(tmp_path / "acme", lock=lock, dimension=DIMENSION, average_length=999)
    assert second.query(text="valve 7", dense=unit(7), filter=EVERYTHING, limit=5) == before
    assert second.average_length == 40
    assert second.ids() == {p.id for p in points}
    second.close()


def test_acknowledged_points_survive_a_kill_without_a_flush(tmp_path: Path) -> None:
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "config.settings"}
    child = subprocess.run(
        [sys.executable, "-c", "import django; django.setup()\n" + WRITE_AND_DIE, str(tmp_path)],
        env=environment,
        check=False,
    )
    assert child.returncode == -signal.SIGKILL
    lock = IndexLock(tmp_path / "lock")
    lock.acquire()
    index = EdgeIndex(tmp_path / "acme", lock=lock, dimension=DIMENSION)
    assert index.ids() == {point(seed).id for seed in range(700)}
    index.close()


def test_an_interrupted_creation_begins_anew(tmp_path: Path, lock: IndexLock) -> None:
    first = EdgeIndex(tmp_path / "acme", lock=lock, dimension=DIMENSION)
    first.ensure()
    first.close()
    (tmp_path / "acme" / "tessera.json").unlink()
    second = EdgeIndex(tmp_path / "acme", lock=lock, dimension=DIMENSION)
    assert second.count() == 0
    assert (tmp_path / "acme" / "tessera.json").is_file()
    second.close()


def test_an_index_for_other_vectors_is_refused_with_the_remedy(tmp_path: Path, lock: IndexLock) -> None:
    EdgeIndex(tmp_path / "acme", lock=lock, dimension=DIMENSION).ensure()
    with pytest.raises(IndexMismatch, match="8 dimensions") as refused:
        EdgeIndex(tmp_path / "acme", lock=lock, dimension=DIMENSION * 2).ensure()
    assert "manage.py reindex" in refused.value.hint
    saved = tmp_path / "acme" / "tessera.json"
    saved.write_text(json.dumps({**json.loads(saved.read_text()), "layout": 0}))
    with pytest.raises(IndexMismatch, match="layout 0"):
        EdgeIndex(tmp_path / "acme", lock=lock, dimension=DIMENSION).ensure()


def test_the_folder_holds_no_text(tmp_path: Path, lock: IndexLock) -> None:
    index = EdgeIndex(tmp_path / "acme", lock=lock, dimension=DIMENSION)
    index.upsert([point(1, "zanzibar")])
    index.flush()
    index.close()
    stored = [file for file in (tmp_path / "acme").rglob("*") if file.is_file()]
    assert len(stored) > 3
    assert not any(b"zanzibar" in file.read_bytes() for file in stored)
