"""The vector index: the only part that speaks to Qdrant. :func:`open_index` is its one door.

What needs Django is loaded when it is asked for, since the child that holds the shards knows no Django.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from search.index.base import IndexFilter, IndexState, Match, Point, Vector, VectorIndex
from search.index.errors import IndexFailure

if TYPE_CHECKING:
    from search.index.opening import claim, close_all, open_index

__all__ = [
    "IndexFailure",
    "IndexFilter",
    "IndexState",
    "Match",
    "Point",
    "Vector",
    "VectorIndex",
    "claim",
    "close_all",
    "open_index",
]


def __getattr__(name: str) -> Any:
    if name not in ("claim", "close_all", "open_index"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from search.index import opening

    return getattr(opening, name)
