"""The small file beside a shard that says which one of its folder counts, and what it was made with.

What always holds: it is written whole or not at all, after what it speaks of. A shard without it is one whose creation did
not end; another shard takes the place of the one that it names in one step.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

from search.index.errors import IndexMismatch
from search.index.layout import LAYOUT, PAYLOAD

META = "tessera.json"
_KINDS = {
    "layout": int,
    "dimension": int,
    "average_length": float,
    "shard": str,
    "in_graph": int,
    "fields": tuple,
    "payload": int,
}
_BEFORE = {"shard": "shard", "in_graph": 0, "fields": (), "payload": 1}
"""What a file of an earlier version does not say."""


@dataclass(frozen=True, slots=True)
class Saved:
    """``fields`` are those of the payload that have indexes, in every segment."""

    dimension: int
    average_length: float
    shard: str = "shard"
    in_graph: int = 0
    fields: tuple[str, ...] = ()
    payload: int = PAYLOAD
    layout: int = LAYOUT

    @classmethod
    def read(cls, file: Path, *, dimension: int) -> Saved:
        """Raises ``IndexMismatch`` for what another version wrote, and for what is no such file at all."""
        try:
            found = {**_BEFORE, **json.loads(file.read_text(encoding="ascii"))}
            saved = cls(**{name: kind(found[name]) for name, kind in _KINDS.items()})
        except (ValueError, TypeError, KeyError) as error:
            raise IndexMismatch(f"{file} cannot be read: {error!r}.") from error
        if saved.layout != LAYOUT or saved.dimension != dimension:
            raise IndexMismatch(
                f"The index holds vectors of {saved.dimension} dimensions in layout {saved.layout}; "
                f"{dimension} dimensions in layout {LAYOUT} are needed."
            )
        return saved

    def write(self, file: Path) -> None:
        """Renames it into its place when it is on the disk."""
        draft = file.with_name(f"{META}.new")
        with draft.open("w", encoding="ascii") as out:
            json.dump(asdict(self), out)
            out.flush()
            os.fsync(out.fileno())
        draft.rename(file)


def remove_shards(folder: Path, *, but: str) -> None:
    """Removes the shards that this one replaced, or that were about to replace it when the process died."""
    for other in folder.iterdir():
        if other.is_dir() and other.name != but:
            shutil.rmtree(other, ignore_errors=True)
