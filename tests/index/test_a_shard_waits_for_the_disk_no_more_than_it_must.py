"""A new shard is a copy of an empty one, and what was only read is closed without a flush."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import qdrant_edge

from search.index import blank
from search.index.edge import EdgeIndex
from search.index.edge_types import config_of
from search.index.lock import IndexLock
from tests.index.points import DIMENSION, EVERYTHING, point, unit


class Watched:
    """A shard that counts its flushes."""

    def __init__(self, shard: Any) -> None:
        self._shard = shard
        self.flushes = 0

    def flush(self) -> None:
        self.flushes += 1
        self._shard.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._shard, name)


def watched(index: EdgeIndex) -> Watched:
    index.ensure()
    shard = Watched(index._shard)
    index._shard = shard  # type: ignore[assignment]
    return shard


def opened(tmp_path: Path, lock: IndexLock, name: str = "1") -> EdgeIndex:
    return EdgeIndex(tmp_path / name, lock=lock, dimension=DIMENSION)


def files_of(shard: Path) -> dict[str, bytes]:
    """Its files by their names, without the name of the segment, which is drawn, and without the empty pieces of the log,
    which a thread of the engine makes in advance."""
    segment = next((shard / "segments").iterdir()).name
    found = [path for path in shard.rglob("*") if path.is_file() and not path.name.startswith("open-")]
    return {str(path.relative_to(shard)).replace(segment, "S"): path.read_bytes() for path in found}


def test_a_blank_shard_is_what_the_engine_creates(tmp_path: Path) -> None:
    blank.write_blank_shard(tmp_path / "ours", config_of(DIMENSION))
    qdrant_edge.EdgeShard.create(str(tmp_path / "theirs"), config_of(DIMENSION)).close()
    ours, theirs = files_of(tmp_path / "ours"), files_of(tmp_path / "theirs")
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if ours[name] != theirs[name]] == []


def test_the_engine_creates_one_shard_for_all(
    tmp_path: Path, lock: IndexLock, monkeypatch: pytest.MonkeyPatch
) -> None:
    created: list[str] = []

    class Shards:
        @staticmethod
        def create(path: str, config: qdrant_edge.EdgeConfig) -> qdrant_edge.EdgeShard:
            created.append(path)
            return qdrant_edge.EdgeShard.create(path, config)

    class Engine:
        EdgeShard = Shards

    blank._blank.cache_clear()
    monkeypatch.setattr(blank, "edge", Engine)
    for name in "123":
        index = opened(tmp_path, lock, name)
        index.upsert([point(int(name), "pump")])
        index.close()
    assert len(created) == 1
    assert opened(tmp_path, lock, "2").ids() == {point(2).id}


def test_every_file_of_a_new_shard_is_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: set[Path] = set()
    monkeypatch.setattr(blank, "_sync", synced.add)
    blank.write_blank_shard(tmp_path / "new", config_of(DIMENSION))
    assert synced == {tmp_path / "new", *(tmp_path / "new").rglob("*")}


def test_an_index_that_was_only_read_is_closed_without_a_flush(tmp_path: Path, lock: IndexLock) -> None:
    index = opened(tmp_path, lock)
    index.upsert([point(1, "pump")])
    index.close()
    index = opened(tmp_path, lock)
    shard = watched(index)
    assert index.query(text="pump", dense=unit(1), filter=EVERYTHING, limit=5)
    index.flush()
    index.close()
    assert shard.flushes == 0


@pytest.mark.parametrize("act", ["upsert", "delete", "delete_document", "delete_version"])
def test_what_was_written_is_flushed_once(tmp_path: Path, lock: IndexLock, act: str) -> None:
    first = point(1, "pump")
    acts = {
        "upsert": [point(2, "valve")],
        "delete": [first.id],
        "delete_document": first.document_id,
        "delete_version": first.version_id,
    }
    index = opened(tmp_path, lock)
    index.upsert([first])
    index.flush()
    shard = watched(index)
    getattr(index, act)(acts[act])
    index.flush()
    index.close()
    assert shard.flushes == 1
