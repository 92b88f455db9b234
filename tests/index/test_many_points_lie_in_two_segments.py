"""A shard of many points has two segments, which are read at once, and says the same as one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from search.index import edge
from search.index.base import IndexFilter
from search.index.edge import SEGMENTS, EdgeIndex
from search.index.edge_types import FIELDS
from search.index.lock import IndexLock
from tests.index.points import CONTRACTS, DIMENSION, EVERYTHING, MANUALS, point, unit

MANUALS_ONLY = IndexFilter(collection_ids=(MANUALS,))
GROW_AND_DIE = """
import os, signal, sys
from pathlib import Path
from search.index import edge
from search.index.lock import IndexLock
from tests.index.points import DIMENSION, point
edge.SPREAD_FROM = edge.FIELDS_INDEXED_FROM = 40
lock = IndexLock(Path(sys.argv[1]) / "lock")
lock.acquire()
index = edge.EdgeIndex(Path(sys.argv[1]) / "1", lock=lock, dimension=DIMENSION)
index.upsert([point(seed, "pump") for seed in range(100)])
index.upsert([point(seed, "valve") for seed in range(50, 150)])
index.delete([point(seed).id for seed in range(10)])
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edge, "SPREAD_FROM", 40)
    monkeypatch.setattr(edge, "FIELDS_INDEXED_FROM", 40)


def opened(tmp_path: Path, lock: IndexLock, name: str = "1") -> EdgeIndex:
    return EdgeIndex(tmp_path / name, lock=lock, dimension=DIMENSION)


def sizes(folder: Path) -> list[int]:
    """Points of each segment that ever were, by the eight bytes that the engine keeps of each."""
    return [file.stat().st_size // 8 for file in folder.glob("shard/segments/*/mutable_id_tracker.versions")]


def indexed_segments(folder: Path) -> int:
    files = folder.glob("shard/segments/*/payload_index/config.json")
    return sum(all(f'"{field}"' in file.read_text() for field in FIELDS) for file in files)


def test_points_are_spread_evenly_from_the_threshold_on(tmp_path: Path, lock: IndexLock) -> None:
    index = opened(tmp_path, lock)
    index.upsert([point(seed, "pump") for seed in range(30)])
    index.flush()
    assert sizes(tmp_path / "1") == [30]
    for start in range(30, 130, 5):
        index.upsert([point(seed, "pump") for seed in range(start, start + 5)])
    index.flush()
    assert len(sizes(tmp_path / "1")) == SEGMENTS
    assert max(sizes(tmp_path / "1")) - min(sizes(tmp_path / "1")) <= 10
    assert indexed_segments(tmp_path / "1") == SEGMENTS
    assert index.ids() == {point(seed).id for seed in range(130)}
    index.close()


def test_two_segments_say_what_one_does(
    tmp_path: Path, lock: IndexLock, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["pump", "valve pump", "harbour", "valve of the harbour", "gasket"]
    points = [
        point(seed, words[seed % 5] * (1 + seed % 3), collection=MANUALS if seed % 3 else CONTRACTS)
        for seed in range(200)
    ]
    spread, whole = opened(tmp_path, lock, "spread"), opened(tmp_path, lock, "whole")
    for start in range(0, 200, 10):
        spread.upsert(points[start : start + 10])
    monkeypatch.setattr(edge, "SPREAD_FROM", 10**9)
    whole.upsert(points)
    for seed in range(10):
        for allowed in (EVERYTHING, MANUALS_ONLY):
            for limit in (7, 500):
                one = whole.query(text="valve gasket", dense=unit(seed), filter=allowed, limit=limit)
                two = spread.query(text="valve gasket", dense=unit(seed), filter=allowed, limit=limit)
                assert [m.score for m in one] == pytest.approx([m.score for m in two], abs=1e-5)
    spread.close()
    whole.close()


def test_a_kill_after_the_spreading_loses_nothing(tmp_path: Path) -> None:
    child = subprocess.run(
        [sys.executable, "-c", "import django; django.setup()\n" + GROW_AND_DIE, str(tmp_path)],
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "config.settings"},
        check=False,
    )
    assert child.returncode == -signal.SIGKILL
    lock = IndexLock(tmp_path / "lock")
    lock.acquire()
    index = opened(tmp_path, lock)
    assert index.ids() == {point(seed).id for seed in range(10, 150)}
    found = index.query(text="valve", dense=unit(1), filter=EVERYTHING, limit=200)
    assert {match.id for match in found} == index.ids()
    index.close()
    assert len(sizes(tmp_path / "1")) == SEGMENTS


def test_a_spreading_that_was_interrupted_is_done_with_the_next_points(
    tmp_path: Path, lock: IndexLock, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = opened(tmp_path, lock)
    with monkeypatch.context() as patched:
        patched.setattr(edge, "FIELDS", {})
        index.upsert([point(seed, "pump") for seed in range(60)])
    index.close()
    assert indexed_segments(tmp_path / "1") == 0
    index = opened(tmp_path, lock)
    index.upsert([point(seed, "pump") for seed in range(60, 70)])
    index.close()
    assert indexed_segments(tmp_path / "1") == SEGMENTS
    index = opened(tmp_path, lock)
    assert index.ids() == {point(seed).id for seed in range(70)}
    index.close()


def test_what_was_left_of_a_segment_half_written_is_no_segment(tmp_path: Path, lock: IndexLock) -> None:
    index = opened(tmp_path, lock)
    index.upsert([point(seed, "pump") for seed in range(30)])
    index.close()
    (tmp_path / "1" / "shard" / "segments.new" / "vector_storage-dense").mkdir(parents=True)
    index = opened(tmp_path, lock)
    index.upsert([point(seed, "pump") for seed in range(30, 60)])
    index.upsert([point(seed, "pump") for seed in range(60, 70)])
    index.close()
    index = opened(tmp_path, lock)
    assert index.ids() == {point(seed).id for seed in range(70)}
    index.close()
    assert len(sizes(tmp_path / "1")) == SEGMENTS
