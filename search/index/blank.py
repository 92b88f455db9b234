"""Empty shards, written from a copy in memory.

Qdrant Edge waits some sixty times for the disk while it creates a shard, one file after the other. What it writes is the same
each time, some twenty files in which but 1.3 kB are not zero. So it creates one, once a process, and each
later shard is that one written again, all of whose files then go to the disk at once.

What always holds: what was written is on the disk whole when its function returns.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import qdrant_edge as edge

SEGMENTS = "segments"
SYNCED_AT_ONCE = 8
"""Files that are waited for at the same time, since the file system writes them together then."""


@dataclass(frozen=True, slots=True)
class _File:
    path: str
    size: int
    content: bytes
    """Up to the last byte that is not zero: the rest of the size is a hole."""


@dataclass(frozen=True, slots=True)
class _Blank:
    folders: tuple[str, ...]
    """A folder before those within it."""
    files: tuple[_File, ...]


def write_blank_shard(folder: Path, config: edge.EdgeConfig) -> None:
    """Makes ``folder``, which must not exist, an empty shard of ``config``, and loads it not."""
    _write(_blank(config), folder)


def write_blank_segment(shard: Path, config: edge.EdgeConfig) -> None:
    """Adds an empty segment to a shard that is not loaded. It appears there whole or not at all: what the engine does not
    take for a segment it ignores."""
    blank = _blank(config)
    (segment,) = (name for name in blank.folders if Path(name).parent.name == SEGMENTS)
    inside = f"{segment}/"
    draft = shard / f"{SEGMENTS}.new"
    shutil.rmtree(draft, ignore_errors=True)
    _write(
        _Blank(
            tuple(name.removeprefix(inside) for name in blank.folders if name.startswith(inside)),
            tuple(
                replace(file, path=file.path.removeprefix(inside))
                for file in blank.files
                if file.path.startswith(inside)
            ),
        ),
        draft,
    )
    draft.rename(shard / SEGMENTS / str(uuid.uuid4()))
    _sync(shard / SEGMENTS)


def _write(blank: _Blank, folder: Path) -> None:
    folder.mkdir(parents=True)
    for name in blank.folders:
        (folder / name).mkdir()
    written = [folder, *(folder / name for name in blank.folders)]
    for file in blank.files:
        path = folder / file.path
        with path.open("wb") as out:
            out.write(file.content)
            out.truncate(file.size)
        written.append(path)
    with ThreadPoolExecutor(SYNCED_AT_ONCE) as pool:
        list(pool.map(_sync, written))


@lru_cache(maxsize=4)
def _blank(config: edge.EdgeConfig) -> _Blank:
    with tempfile.TemporaryDirectory(prefix="tessera-shard-") as place:
        root = Path(place) / "shard"
        shard = edge.EdgeShard.create(str(root), config)
        shard.flush()
        shard.close()
        found = sorted(root.rglob("*"))
        return _Blank(
            folders=tuple(str(path.relative_to(root)) for path in found if path.is_dir()),
            files=tuple(_read(path, root) for path in found if path.is_file()),
        )


def _read(path: Path, root: Path) -> _File:
    content = path.read_bytes()
    return _File(str(path.relative_to(root)), len(content), content.rstrip(b"\0"))


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
