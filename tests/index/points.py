"""Points for the tests: small vectors, spelled-out payloads."""

from __future__ import annotations

import uuid
from uuid import UUID

import numpy as np

from search.index.base import IndexFilter, Point, Vector

DIMENSION = 8
CONTRACTS = uuid.UUID(int=1)
MANUALS = uuid.UUID(int=2)
EVERYTHING = IndexFilter(collection_ids=(CONTRACTS, MANUALS))


def unit(seed: int) -> Vector:
    """A unit vector ``[DIMENSION]`` that depends on ``seed`` only, with values of float16 as rows have them."""
    vector = np.random.default_rng(seed).normal(size=DIMENSION)
    return (vector / np.linalg.norm(vector)).astype(np.float16).astype(np.float32)


def point(
    seed: int,
    text: str = "",
    *,
    document: UUID | None = None,
    collection: UUID = CONTRACTS,
    media_type: str = "application/pdf",
    dated: int | None = None,
    author: str = "",
    language: str = "",
    dense: Vector | None = None,
) -> Point:
    """A point whose id and vector depend on ``seed`` only."""
    return Point(
        id=uuid.uuid5(uuid.NAMESPACE_OID, str(seed)),
        dense=unit(seed) if dense is None else dense,
        text=text,
        document_id=document or uuid.uuid5(uuid.NAMESPACE_URL, str(seed)),
        version_id=uuid.uuid5(uuid.NAMESPACE_DNS, str(seed)),
        collection_id=collection,
        media_type=media_type,
        dated=dated,
        author=author,
        language=language,
    )
