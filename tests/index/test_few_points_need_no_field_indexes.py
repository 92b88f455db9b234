"""A shard of few points has no indexes of fields, whose files cost more than they save; a large one has them."""

from __future__ import annotations

from pathlib import Path

import pytest

from search.index import edge
from search.index.base import IndexFilter
from search.index.edge import EdgeIndex
from search.index.edge_types import FIELDS
from search.index.lock import IndexLock
from tests.index.points import CONTRACTS, DIMENSION, MANUALS, point, unit

MANUALS_ONLY = IndexFilter(collection_ids=(MANUALS,))


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edge, "FIELDS_INDEXED_FROM", 40)


def opened(folder: Path, lock: IndexLock) -> EdgeIndex:
    return EdgeIndex(folder, lock=lock, dimension=DIMENSION)


def indexed(index: EdgeIndex) -> set[str]:
    with index._open("read") as shard:
        return set(shard.info().payload_schema)


def manuals(index: EdgeIndex) -> int:
    return len(index.query(text="pump", dense=unit(1), filter=MANUALS_ONLY, limit=100))


def test_fields_are_indexed_once_there_are_many_points(tmp_path: Path, lock: IndexLock) -> None:
    index = opened(tmp_path / "1", lock)
    index.upsert([point(n, "pump", collection=MANUALS if n % 3 else CONTRACTS) for n in range(30)])
    assert indexed(index) == set()
    assert manuals(index) == 20
    index.close()
    index = opened(tmp_path / "1", lock)
    index.upsert([point(n, "pump", collection=MANUALS if n % 3 else CONTRACTS) for n in range(30, 60)])
    assert indexed(index) == set(FIELDS)
    assert manuals(index) == 40
    index.close()
    index = opened(tmp_path / "1", lock)
    assert indexed(index) == set(FIELDS)
    assert manuals(index) == 40
    index.close()


def test_indexes_whose_making_was_interrupted_are_made_with_the_next_points(
    tmp_path: Path, lock: IndexLock, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = opened(tmp_path / "1", lock)
    with monkeypatch.context() as patched:
        patched.setattr(edge, "FIELDS", {"collection": FIELDS["collection"]})
        index.upsert([point(n, "pump", collection=MANUALS) for n in range(50)])
        assert indexed(index) == {"collection"}
    index.close()
    index = opened(tmp_path / "1", lock)
    index.upsert([point(99, "pump", collection=MANUALS)])
    assert indexed(index) == set(FIELDS)
    assert manuals(index) == 51
    index.close()
