"""From an organisation to its index: the one place where an organisation becomes a shard or a collection.

What always holds: one object per organisation and process; the embedded index is locked as a whole before the
first shard is loaded, so that a second process is refused whichever organisation it asks for.
"""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path
from typing import Any

from django.conf import settings
from qdrant_client import QdrantClient

from search.index.base import VectorIndex
from search.index.edge import EdgeIndex
from search.index.errors import IndexFailure
from search.index.lock import IndexLock
from search.index.server import PREFIX, ServerIndex, connect
from search.index.sparse import DEFAULT_AVERAGE_LENGTH
from tenants.models import Organization

DIMENSIONS = {"all-MiniLM-L6-v2": 384, "all-mpnet-base-v2": 768}
"""Length of the vectors of each embedding model, known without loading it."""

_guard = threading.RLock()
_opened: dict[int, VectorIndex] = {}
_lock: IndexLock | None = None
_client: QdrantClient | None = None


def open_index(organization: Organization) -> VectorIndex:
    """The index of ``organization``, ready for use: always the same object until it is closed.

    Raises ``TypeError`` for anything but a saved organisation, before anything is opened; ``IndexLocked``
    when another process holds the embedded index; ``IndexMismatch`` when it was made for another model.
    """
    key = _key(organization)
    with _guard:
        index = _opened.get(key)
        if index is None:
            index = _make(key, DEFAULT_AVERAGE_LENGTH)
            index.ensure()
            _opened[key] = index
        return index


def recreate_index(organization: Organization, *, average_length: float) -> VectorIndex:
    """Drops what ``organization`` has and returns an empty index, made for that mean passage length."""
    key = _key(organization)
    with _guard:
        old = _opened.pop(key, None)
        if old is not None:
            old.close()
        index = _make(key, average_length)
        index.drop()
        index.ensure()
        _opened[key] = index
        return index


def drop_index(organization: Organization) -> None:
    """Deletes the index of ``organization`` and forgets it."""
    key = _key(organization)
    with _guard:
        old = _opened.pop(key, None)
        if old is not None:
            old.close()
        _make(key, DEFAULT_AVERAGE_LENGTH).drop()


def claim() -> None:
    """Takes the embedded index for this process; does nothing with a server. Raises ``IndexLocked``."""
    if not settings.ENV.qdrant_url:
        with _guard:
            _held_lock()


def close_all() -> None:
    """Flushes and closes every index of this process and gives the lock back. Idempotent."""
    global _lock, _client
    with _guard:
        for index in _opened.values():
            with contextlib.suppress(IndexFailure):
                index.close()
        _opened.clear()
        if _client is not None:
            _client.close()
            _client = None
        if _lock is not None:
            _lock.release()
            _lock = None


def keys_present() -> set[int]:
    """The keys of all organisations that have an index, whether or not the organisation still exists."""
    if settings.ENV.qdrant_url:
        with _guard:
            names = [c.name.removeprefix(PREFIX) for c in _connected().get_collections().collections
                     if c.name.startswith(PREFIX)]  # fmt: skip
    else:
        names = [f.name for f in _home().iterdir() if f.is_dir()] if _home().is_dir() else []
    return {int(name) for name in names if name.isdigit()}


def _key(organization: Organization) -> int:
    given: Any = organization
    if not isinstance(given, Organization) or given.pk is None:
        raise TypeError("An index is opened for one saved organisation.")
    return int(given.pk)


def _make(key: int, average_length: float) -> EdgeIndex | ServerIndex:
    dimension = _dimension()
    if settings.ENV.qdrant_url:
        return ServerIndex(_connected(), str(key), dimension=dimension, average_length=average_length)
    folder = _home() / str(key)
    return EdgeIndex(folder, lock=_held_lock(), dimension=dimension, average_length=average_length)


def _dimension() -> int:
    name = settings.ENV.embedding_model
    if name not in DIMENSIONS:
        raise IndexFailure(
            f"The length of the vectors of {name!r} is not known.",
            hint="Set TESSERA_EMBEDDING_MODEL to one of: " + ", ".join(DIMENSIONS) + ".",
        )
    return DIMENSIONS[name]


def _home() -> Path:
    return Path(settings.VAR) / "index"


def _held_lock() -> IndexLock:
    global _lock
    if _lock is None:
        lock = IndexLock(_home() / "lock")
        lock.acquire()
        _lock = lock
    return _lock


def _connected() -> QdrantClient:
    global _client
    if _client is None:
        _client = connect(settings.ENV.qdrant_url, settings.ENV.qdrant_api_key)
    return _client
