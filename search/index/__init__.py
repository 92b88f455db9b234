"""The vector index: the only part that speaks to Qdrant. :func:`open_index` is its one door."""

from __future__ import annotations

from search.index.base import IndexFilter, Match, Point, Vector, VectorIndex
from search.index.errors import IndexFailure
from search.index.opening import claim, close_all, open_index

__all__ = [
    "IndexFailure",
    "IndexFilter",
    "Match",
    "Point",
    "Vector",
    "VectorIndex",
    "claim",
    "close_all",
    "open_index",
]
