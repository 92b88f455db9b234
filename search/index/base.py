"""The vector index of one organisation: what every implementation offers.

An object is opened for one organisation and knows no other: no method takes a collection or shard name.
The rows of ``search.Chunk`` are the record; everything here can be dropped and rebuilt from them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Point:
    """A chunk as the index sees it. ``dense`` has unit length, shape ``[dimension]``, and values of float16, as
    rows have them; ``text`` feeds BM25."""

    id: UUID
    dense: Vector
    text: str
    document_id: UUID
    version_id: UUID
    collection_id: UUID
    media_type: str
    dated: int | None
    """Days since 1970-01-01, or None."""
    author: str = ""
    """As the file names it; several are parted by semicolons."""
    language: str = ""
    """ISO 639-1 code, or empty."""


@dataclass(frozen=True, slots=True)
class IndexFilter:
    """Conditions of which all must hold. ``collection_ids`` is what may be read: none means nothing."""

    collection_ids: tuple[UUID, ...]
    other_collection_ids: tuple[UUID, ...] | None = None
    """All others that the organisation has, where they are known. Asking a point for its collection takes longer than comparing
    its vector: where there are no others it is not asked, and where they are fewer it is asked for these."""
    document_ids: tuple[UUID, ...] | None = None
    media_types: tuple[str, ...] | None = None
    authors: tuple[str, ...] | None = None
    """Whole names, whatever their case and white space."""
    languages: tuple[str, ...] | None = None
    dated_from: int | None = None
    dated_to: int | None = None
    dated_in: tuple[tuple[int, int], ...] | None = None
    """Ranges of days, both ends included, of which one must hold."""

    @property
    def matches_nothing(self) -> bool:
        """Where a list has no value nothing can hold, while Qdrant's empty ``should`` holds for everything."""
        return not self.collection_ids or self.dated_in == ()

    @property
    def allowed(self) -> tuple[bool, tuple[UUID, ...]] | None:
        """Of ``(True, ids)`` a point's collection must be one, of ``(False, ids)`` none; None lets every point through,
        which only an empty ``other_collection_ids`` says."""
        others = self.other_collection_ids
        if others is None or len(others) > len(self.collection_ids):
            return True, self.collection_ids
        return (False, others) if others else None


@dataclass(frozen=True, slots=True)
class Match:
    """A point found; ``score`` is the fused score, comparable only within one query."""

    id: UUID
    score: float


@dataclass(frozen=True, slots=True)
class IndexState:
    """What tells whether an index should be made anew."""

    points: int
    outside_graph: int
    """Points that each query looks at one by one; 0 where the engine builds its graph by itself."""
    average_length: float
    """The mean passage length that the stored BM25 weights were made with, in terms."""


class VectorIndex(Protocol):
    """Dense and BM25 vectors of one organisation, fused by DBSF; what a question means exactly counts once more, since
    DBSF gives a lone match but half of its scale. Thread-safe.
    """

    def ensure(self) -> None: ...

    def upsert(self, points: Sequence[Point]) -> None:
        """Raises ``ValueError`` for a vector of another dimension or with a value that is not finite."""
        ...

    def delete(self, ids: Sequence[UUID]) -> None: ...

    def delete_document(self, document_id: UUID) -> None: ...

    def delete_version(self, version_id: UUID) -> None: ...

    def query(
        self, *, text: str, dense: Vector | None, filter: IndexFilter, limit: int, earlier: str = ""
    ) -> list[Match]:
        """The best matches. The words of ``earlier``, a question that ``text`` follows up, count half. Without ``dense`` only
        passages that have one of the words."""
        ...

    def count(self) -> int: ...

    def state(self) -> IndexState: ...

    def ids(self) -> set[UUID]: ...

    def vectors(self, ids: Sequence[UUID]) -> dict[UUID, Vector]: ...

    def flush(self) -> None: ...

    def optimize(self) -> None:
        """Builds the graph over all points where the engine does not by itself. Takes long, and holds up every other
        call on this organisation's index and, embedded, on its neighbours': for an index that nobody asks yet.
        """
        ...

    def drop(self) -> None: ...

    def close(self) -> None: ...
