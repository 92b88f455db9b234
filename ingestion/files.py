"""Uploaded files in the storage: written under generated keys, read back as a local path.

What always holds: a key is made by us (organisation id and random hex) and never from a name that a person
gave; nobody else's path is ever formed from input.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import IO

from django.core.files.base import File
from django.core.files.storage import default_storage

from search import corpus
from search.models import DocumentVersion
from tenants.models import Organization
from tenants.scope import tenant_scope

logger = logging.getLogger(__name__)


UNNAMED_AFTER = timedelta(hours=1)
"""Age at which a file that no row names is one whose upload was cut off between the file and the rows."""


class StorageAway(Exception):
    """The storage did not give a file, and did not say that there is none. It says nothing about the file."""

    def __init__(self) -> None:
        super().__init__("The storage of the files does not answer.")


def new_key(organization_id: int) -> str:
    """A key that nobody has."""
    return f"{organization_id}/{uuid.uuid4().hex}"


def create(key: str) -> File[bytes]:
    """Opens a new file to be written; it lies there once it is closed. Raises ``OSError``."""
    with contextlib.suppress(NotImplementedError):
        Path(default_storage.path(key)).parent.mkdir(parents=True, exist_ok=True)
    return default_storage.open(key, "wb")


def abandon(file: File[bytes], key: str) -> None:
    """Ends a file that was being written, and removes it. What a storage that does not answer keeps of it is removed by
    the sweep that looks for files that no row names."""
    try:
        getattr(file, "abandon", file.close)()
        discard(key)
    except OSError:
        logger.warning("file %s could not be removed", key, exc_info=True)


def discard(key: str) -> None:
    """Removes a file; one that is already gone is fine."""
    try:
        default_storage.delete(key)
    except FileNotFoundError:
        logger.info("file %s was already gone", key)


def unnamed(organization: Organization, *, now: datetime) -> list[str]:
    """The keys of stored files that no version names and that are older than :data:`UNNAMED_AFTER`."""
    stored = corpus.stored_files(organization)
    with tenant_scope(organization):
        named = set(DocumentVersion.objects.values_list("file", flat=True))
    return [key for key in sorted(stored - named) if stored_at(key, now) < now - UNNAMED_AFTER]


def remove_unnamed(*, now: datetime) -> int:
    """Removes the :func:`unnamed` files of every organisation; returns how many."""
    removed = [key for organization in Organization.objects.all() for key in unnamed(organization, now=now)]
    for key in removed:
        discard(key)
    return len(removed)


def stored_at(key: str, now: datetime) -> datetime:
    """``now`` for a file that has gone meanwhile."""
    try:
        return default_storage.get_modified_time(key)
    except FileNotFoundError:
        return now


@contextlib.contextmanager
def local_copy(key: str) -> Iterator[Path]:
    """A path with the file's bytes: the file itself on a local disk, a temporary copy from elsewhere.

    Raises ``FileNotFoundError`` when the storage has no such file, :class:`StorageAway` when it does not answer.
    """
    try:
        path = Path(default_storage.path(key))
    except NotImplementedError:
        with tempfile.NamedTemporaryFile(prefix="tessera-") as copy:
            _fetch(key, copy)
            yield Path(copy.name)
        return
    if not path.is_file():
        raise FileNotFoundError(f"The stored file {key} is missing.")
    yield path


def _fetch(key: str, copy: IO[bytes]) -> None:
    try:
        with default_storage.open(key, "rb") as source:
            shutil.copyfileobj(source, copy)
        copy.flush()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StorageAway from error
