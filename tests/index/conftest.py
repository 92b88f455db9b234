"""An index of each kind, behind the one protocol. A Qdrant server takes part where ``QDRANT_URL`` is set."""

from __future__ import annotations

import os
import uuid
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from qdrant_client import QdrantClient

from search.index.base import VectorIndex
from search.index.edge import EdgeIndex
from search.index.lock import IndexLock
from search.index.server import ServerIndex, connect
from tests.index.points import DIMENSION

KINDS = ["edge", "client", *(["server"] if os.environ.get("QDRANT_URL") else [])]

MakeIndex = Callable[[str], VectorIndex]


@pytest.fixture(params=KINDS)
def make_index(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[MakeIndex]:
    """Opens the index of a named organisation; a name opened twice is the same storage, after a close."""
    opened: list[VectorIndex] = []
    lock = IndexLock(tmp_path / "lock")
    run = uuid.uuid4().hex[:8]
    client: QdrantClient | None = None
    if request.param == "edge":
        lock.acquire()
    elif request.param == "client":
        client = QdrantClient(":memory:")
    else:
        client = connect(os.environ["QDRANT_URL"], os.environ.get("QDRANT_API_KEY", ""))

    def make(name: str) -> VectorIndex:
        index: VectorIndex
        if client is None:
            index = EdgeIndex(tmp_path / name, lock=lock, dimension=DIMENSION)
        else:
            index = ServerIndex(client, f"test_{run}_{name}", dimension=DIMENSION)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Payload indexes have no effect in the local Qdrant")
            index.ensure()
        opened.append(index)
        return index

    yield make
    names = {getattr(index, "_name", None) for index in opened}
    for index in opened:
        index.close()
    if client is not None:
        for name in names - {None}:
            client.delete_collection(str(name))
        client.close()
    lock.release()


@pytest.fixture
def index(make_index: MakeIndex) -> VectorIndex:
    return make_index("acme")
