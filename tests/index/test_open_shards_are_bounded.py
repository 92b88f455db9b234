"""A thousand organisations need no thousand open shards: the least recently used is closed, never one in use."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from search.index.embedded import EmbeddedIndex
from search.index.lock import IndexLock
from search.index.shards import Shards
from tests.index.points import DIMENSION, EVERYTHING, point, unit

MOST_OPEN = 3


@pytest.fixture
def shards(tmp_path: Path) -> Iterator[Shards]:
    lock = IndexLock(tmp_path / "lock")
    lock.acquire()
    shards = Shards(tmp_path, lock=lock, dimension=DIMENSION, most_open=MOST_OPEN)
    yield shards
    shards.close()
    lock.release()


def handle(shards: Shards, key: int) -> EmbeddedIndex:
    return EmbeddedIndex(shards, key, dimension=DIMENSION)


def test_the_least_recently_used_is_closed(shards: Shards) -> None:
    for key in (1, 2, 3, 1, 4):
        handle(shards, key).upsert([point(key, "pump")])
    assert list(shards._open) == [3, 1, 4]


def test_what_was_closed_opens_again_with_all_its_points(shards: Shards) -> None:
    handles = {key: handle(shards, key) for key in range(1, 9)}
    for key, index in handles.items():
        index.upsert([point(key, "pump")])
    for key, index in handles.items():
        assert index.ids() == {point(key).id}
        found = index.query(text="pump", dense=unit(key), filter=EVERYTHING, limit=5)
        assert [match.id for match in found] == [point(key).id]
    assert len(shards._open) == MOST_OPEN


def test_threads_that_push_each_others_shards_out_all_get_their_own_answers(shards: Shards) -> None:
    keys = range(2 * MOST_OPEN)
    for key in keys:
        handle(shards, key).upsert([point(key, "pump")])
    wrong: list[object] = []

    def ask(key: int) -> None:
        index = handle(shards, key)
        for turn in range(15):
            try:
                found = index.query(text="pump", dense=unit(key), filter=EVERYTHING, limit=5)
                if [match.id for match in found] != [point(key).id] or index.count() != 1:
                    wrong.append((key, turn, found))
            except Exception as error:
                wrong.append(error)

    threads = [threading.Thread(target=ask, args=(key,)) for key in keys]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert len(shards._open) == MOST_OPEN
