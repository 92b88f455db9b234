"""An index of each kind, behind the one protocol. A Qdrant server takes part where ``QDRANT_URL`` is set.

The embedded kinds may keep one shard open, so that every test of two organisations also opens and closes.
"""

from __future__ import annotations

import itertools
import os
import uuid
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from qdrant_client import QdrantClient

from search.index.base import VectorIndex
from search.index.edge import EdgeIndex
from search.index.embedded import EmbeddedIndex
from search.index.lock import IndexLock
from search.index.server import ServerIndex, connect
from search.index.shard_process import ShardProcess
from search.index.shards import ShardKeeper, Shards
from tests.index.points import DIMENSION

KINDS = ["edge", "shards", "process", "client", *(["server"] if os.environ.get("QDRANT_URL") else [])]

MakeIndex = Callable[[str], VectorIndex]
_keys = itertools.count(1)


@contextmanager
def in_a_process(home: Path, *, most_open: int) -> Iterator[ShardProcess]:
    lock = IndexLock(home / "lock")
    lock.acquire()
    keeper = ShardProcess(home, lock=lock, dimension=DIMENSION, most_open=most_open)
    yield keeper
    keeper.close()
    lock.release()


@pytest.fixture(scope="session")
def shard_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ShardProcess]:
    """One child for all tests of the contract; each test has keys of its own."""
    with in_a_process(tmp_path_factory.mktemp("shards"), most_open=1) as keeper:
        yield keeper


@pytest.fixture
def keeper(tmp_path: Path) -> Iterator[ShardProcess]:
    """A child of one test, which may kill it; its folder is the test's own."""
    with in_a_process(tmp_path, most_open=4) as keeper:
        yield keeper


@pytest.fixture(params=KINDS)
def make_index(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[MakeIndex]:
    """Opens the index of a named organisation; a name opened twice is the same storage, after a close."""
    if request.param == "edge":
        yield from _edge(tmp_path)
    elif request.param == "shards":
        lock = IndexLock(tmp_path / "lock")
        lock.acquire()
        keeper = Shards(tmp_path, lock=lock, dimension=DIMENSION, most_open=1)
        yield from _kept(keeper)
        keeper.close()
        lock.release()
    elif request.param == "process":
        yield from _kept(request.getfixturevalue("shard_process"))
    elif request.param == "client":
        yield from _served(QdrantClient(":memory:"))
    else:
        yield from _served(connect(os.environ["QDRANT_URL"], os.environ.get("QDRANT_API_KEY", "")))


def _edge(folder: Path) -> Iterator[MakeIndex]:
    lock = IndexLock(folder / "lock")
    lock.acquire()
    opened: list[VectorIndex] = []

    def make(name: str) -> VectorIndex:
        opened.append(EdgeIndex(folder / name, lock=lock, dimension=DIMENSION))
        opened[-1].ensure()
        return opened[-1]

    yield make
    for index in opened:
        index.close()
    lock.release()


def _kept(keeper: ShardKeeper) -> Iterator[MakeIndex]:
    keys: dict[str, int] = {}

    def make(name: str) -> VectorIndex:
        index = EmbeddedIndex(keeper, keys.setdefault(name, next(_keys)), dimension=DIMENSION)
        index.ensure()
        return index

    yield make
    for key in keys.values():
        keeper.call(key, "drop")


def _served(client: QdrantClient) -> Iterator[MakeIndex]:
    run = uuid.uuid4().hex[:8]
    opened: dict[str, ServerIndex] = {}

    def make(name: str) -> VectorIndex:
        opened[name] = ServerIndex(client, f"test_{run}_{name}", dimension=DIMENSION)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Payload indexes have no effect in the local Qdrant")
            opened[name].ensure()
        return opened[name]

    yield make
    for index in opened.values():
        index.close()
    for name in {index._name for index in opened.values()}:
        client.delete_collection(name)
    client.close()


@pytest.fixture
def index(make_index: MakeIndex) -> VectorIndex:
    return make_index("acme")


@pytest.fixture
def lock(tmp_path: Path) -> Iterator[IndexLock]:
    """Held, as by the one process that may use the embedded index."""
    lock = IndexLock(tmp_path / "lock")
    lock.acquire()
    yield lock
    lock.release()
