"""From an organisation to its index: the one place where an organisation becomes a shard or a collection.

What always holds: the embedded index is locked as a whole before the first shard is loaded, so that a second process
is refused whichever organisation it asks for; what is handed out is a handle, so that a shard may be closed behind it.
"""

from __future__ import annotations

import re
import shutil
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from django.conf import settings
from qdrant_client import QdrantClient

from search.index.base import VectorIndex
from search.index.embedded import EmbeddedIndex
from search.index.errors import IndexFailure, IndexLocked, IndexMismatch
from search.index.layout import PAYLOAD
from search.index.lock import IndexLock
from search.index.saved import META, Saved
from search.index.server import PREFIX, ServerIndex, connect
from search.index.shard_process import ShardProcess
from search.index.shards import ShardKeeper, Shards
from search.models import ServedCollection
from tenants.models import Organization

DIMENSIONS = {"all-MiniLM-L6-v2": 384, "all-mpnet-base-v2": 768}
"""Length of the vectors of each embedding model, known without loading it."""

BUILDING = "building"
"""The folder beside the shards in which new ones are built."""
BUILDER_NICE = 10
"""How much the process that builds stands back behind the one that answers."""

_SERVED = re.compile(r"\d+(_[0-9a-f]{12})?")
"""The names of an organisation's collections on a server, after the prefix: the first, and those made anew."""

_guard = threading.RLock()
_keeper: ShardKeeper | None = None
_servers: dict[str, ServerIndex] = {}
_lock: IndexLock | None = None
_client: QdrantClient | None = None


@dataclass(frozen=True, slots=True)
class Building:
    """An index that is being made anew beside the one in use."""

    index: VectorIndex
    switch: Callable[[], set[UUID]]
    """Puts it in the place of the one in use, in one step; returns the ids of the points that that one had."""


def open_index(organization: Organization) -> VectorIndex:
    """The index of ``organization``, which opens at its first use and may be closed and opened again behind it.

    Raises ``TypeError`` for anything but a saved organisation, before anything is opened; ``IndexLocked``
    when another process holds the embedded index. What is done with it raises ``IndexMismatch`` when it was made for
    another model.
    """
    return _open(_key(organization))


def name_of_index(organization: Organization) -> str:
    """What tells the index in use from one that was in use before, where whoever has that one open goes on with it: a
    server's collection. The embedded index is opened anew behind its handle."""
    key = _key(organization)
    return _name_on_server(key) if settings.ENV.qdrant_url else str(key)


@contextmanager
def build_index(organization: Organization, *, average_length: float) -> Iterator[Building]:
    """An empty index for that mean passage length, beside the one in use, which is not touched before the switch.

    What was not switched by the end of the block is removed.
    """
    key = _key(organization)
    if settings.ENV.qdrant_url:
        with _build_on_server(key, average_length) as building:
            yield building
        return
    keeper = _shards()  # first, since it clears away what a killed process was building
    home = _home() / BUILDING / uuid.uuid4().hex
    own = None if settings.ENV.index_process else IndexLock(home / "lock")
    if own is not None:
        own.acquire()
    builder = _make_keeper(home, lock=own, nice=BUILDER_NICE)
    try:
        builder.create(key, average_length)
        index = EmbeddedIndex(builder, key, dimension=_dimension())

        def switch() -> set[UUID]:
            index.close()
            return keeper.adopt(key, home / str(key))

        yield Building(index, switch)
    finally:
        builder.close()
        if own is not None:
            own.release()
        shutil.rmtree(home, ignore_errors=True)


@contextmanager
def _build_on_server(key: int, average_length: float) -> Iterator[Building]:
    client, in_use = _connected(), _name_on_server(key)
    _remove_from_server(key, but=in_use)  # what a killed process was building
    name = f"{key}_{uuid.uuid4().hex[:12]}"
    index = ServerIndex(client, name, dimension=_dimension(), average_length=average_length)
    index.ensure()

    def switch() -> set[UUID]:
        ServedCollection.objects.update_or_create(organization_key=key, defaults={"name": name})
        try:
            return ServerIndex(client, in_use, dimension=_dimension()).ids()
        except IndexFailure:
            return set()  # beyond reading, which is why another takes its place

    try:
        yield Building(index, switch)
    finally:
        _remove_from_server(key, but=_name_on_server(key))


def _name_on_server(key: int) -> str:
    pointer = ServedCollection.objects.filter(organization_key=key).first()
    return str(key) if pointer is None else pointer.name


def _remove_from_server(key: int, *, but: str | None) -> None:
    """Removes the collections of an organisation."""
    for name in _names_on_server():
        if name != but and _SERVED.fullmatch(name) and name.partition("_")[0] == str(key):
            ServerIndex(_connected(), name, dimension=_dimension()).drop()
            _servers.pop(name, None)


def _names_on_server() -> list[str]:
    names = [collection.name for collection in _connected().get_collections().collections]
    return [name.removeprefix(PREFIX) for name in names if name.startswith(PREFIX)]


def drop_index(organization: Organization) -> None:
    """Deletes the index of ``organization``."""
    _drop(_key(organization))


def drop_orphan(key: int) -> None:
    """Deletes the index of an organisation that does not exist any more. Raises ``ValueError`` for one that does."""
    if Organization.objects.filter(pk=key).exists():
        raise ValueError(f"Organisation {key} exists.")
    _drop(key)


def _drop(key: int) -> None:
    if settings.ENV.qdrant_url:
        _remove_from_server(key, but=None)
        ServedCollection.objects.filter(organization_key=key).delete()
    else:
        _open(key).drop()


def _open(key: int) -> VectorIndex:
    if not settings.ENV.qdrant_url:
        return EmbeddedIndex(_shards(), key, dimension=_dimension())
    name = _name_on_server(key)
    with _guard:
        if name not in _servers:
            _servers[name] = ServerIndex(_connected(), name, dimension=_dimension())
        return _servers[name]


def claim() -> None:
    """Takes the embedded index for this process; does nothing with a server. Raises ``IndexLocked``."""
    if not settings.ENV.qdrant_url:
        with _guard:
            _held_lock()


def close_all() -> None:
    """Flushes and closes every index of this process and gives the lock back. Idempotent."""
    global _lock, _client, _keeper
    with _guard:
        if _keeper is not None:
            with suppress(IndexFailure):
                _keeper.close()
            _keeper = None
        _servers.clear()
        if _client is not None:
            _client.close()
            _client = None
        if _lock is not None:
            _lock.release()
            _lock = None


def keys_present() -> set[int]:
    """The keys of all organisations that have an index, whether or not the organisation still exists."""
    if settings.ENV.qdrant_url:
        found = [name.partition("_")[0] for name in _names_on_server() if _SERVED.fullmatch(name)]
    else:
        found = [f.name for f in _home().iterdir() if f.is_dir()] if _home().is_dir() else []
    return {int(name) for name in found if name.isdigit()}


def keys_with_less() -> set[int]:
    """The keys of all organisations whose index lacks what filters read now. No shard is opened for it."""
    if settings.ENV.qdrant_url:
        return {key for key in keys_present() if _payload_on_server(key) < PAYLOAD}
    return {key for key in keys_present() if _payload_in(_home() / str(key) / META) < PAYLOAD}


def _payload_on_server(key: int) -> int:
    return ServerIndex(_connected(), _name_on_server(key), dimension=_dimension()).payload()


def _payload_in(file: Path) -> int:
    """The present one of an index that is not there yet, or that no other than an operator can mend."""
    try:
        return Saved.read(file, dimension=_dimension()).payload
    except (OSError, IndexMismatch):
        return PAYLOAD


def _key(organization: Organization) -> int:
    given: Any = organization
    if not isinstance(given, Organization) or given.pk is None:
        raise TypeError("An index is opened for one saved organisation.")
    return int(given.pk)


def _shards() -> ShardKeeper:
    global _keeper
    with _guard:
        if _keeper is None:
            lock = _held_lock()
            shutil.rmtree(_home() / BUILDING, ignore_errors=True)  # of a process that was killed
            _keeper = _make_keeper(_home(), lock=lock)
        return _keeper


def _make_keeper(home: Path, *, lock: IndexLock | None, nice: int = 0) -> ShardKeeper:
    """The shards of ``home``, in a process of their own or in this one, which needs the lock, as the settings say."""
    most_open, dimension = settings.ENV.index_open_shards, _dimension()
    if settings.ENV.index_process:
        return ShardProcess(home, lock=lock, dimension=dimension, most_open=most_open, nice=nice)
    if lock is None:
        raise IndexLocked("Shards are opened by the process that holds their lock.")
    return Shards(home, lock=lock, dimension=dimension, most_open=most_open)


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
    with _guard:
        if _client is None:
            _client = connect(settings.ENV.qdrant_url, settings.ENV.qdrant_api_key)
        return _client
