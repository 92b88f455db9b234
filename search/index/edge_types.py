"""The project's types as Qdrant Edge's, and its errors as the project's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import Any
from uuid import UUID

import qdrant_edge as edge

from search.index.base import IndexFilter, Point, Vector
from search.index.errors import IndexFailure
from search.index.layout import DENSE, MIN_PREFETCH, SPARSE, payload_of, terms_of
from search.index.sparse import Bm25Encoder, SparseTerms

FIELDS: Mapping[str, Any] = {
    "collection": edge.PayloadSchemaType.Uuid,
    "document": edge.PayloadSchemaType.Uuid,
    "version": edge.PayloadSchemaType.Uuid,
    "media_type": edge.PayloadSchemaType.Keyword,
    "author": edge.PayloadSchemaType.Keyword,
    "language": edge.PayloadSchemaType.Keyword,
    "dated": edge.IntegerIndexParams(lookup=False, range=True),
}
"""What filters read."""
SEARCH_THREADS = 2
"""Threads of an open shard. Segments are read in parallel."""


@lru_cache(maxsize=4)
def config_of(dimension: int) -> edge.EdgeConfig:
    """``Cold`` vectors are mapped and read when they are asked for. They stay in the system's cache as well as others, whose
    file of 32 MB is read whole whenever a shard is opened, be there but a hundred of them."""
    return edge.EdgeConfig(
        vectors={
            DENSE: edge.EdgeVectorParams(
                dimension,
                edge.Distance.Dot,
                datatype=edge.VectorStorageDatatype.Float16,
                memory=edge.Memory.Cold,
            )
        },
        sparse_vectors={SPARSE: edge.EdgeSparseVectorParams(modifier=edge.Modifier.Idf)},
        max_search_threads=SEARCH_THREADS,
    )


def point_of(point: Point, bm25: Bm25Encoder) -> edge.Point:
    """With its vectors, and of a text without any term only the dense one."""
    terms = bm25.passage(point.text)
    vectors: dict[str, Any] = {DENSE: point.dense.tolist()}
    if terms.indices:
        vectors[SPARSE] = sparse_of(terms)
    return edge.Point(point.id, vectors, payload_of(point))


def question_of(
    dense: Vector | None, lists: Iterable[SparseTerms], conditions: IndexFilter, limit: int
) -> edge.QueryRequest:
    """By vectors, where there is one, and by each list of words, fused by DBSF."""
    condition = filter_of(conditions)
    depth = max(limit, MIN_PREFETCH)
    nearest = [] if dense is None else [edge.Query.Nearest(dense.tolist(), using=DENSE)]
    nearest += [edge.Query.Nearest(sparse_of(terms), using=SPARSE) for terms in lists]
    fusion: Any = edge.Fusion.Dbsf()
    return edge.QueryRequest(
        limit=limit,
        prefetches=[edge.Prefetch(depth, query=each, filter=condition) for each in nearest],
        query=fusion,
        filter=condition,
        with_payload=False,
        with_vector=False,
    )


def filter_of(conditions: IndexFilter) -> edge.Filter | None:
    """None where every point may be found."""
    wanted, unwanted = terms_of(conditions)
    must: list[Any] = [_any(field, values) for field, values in wanted]
    hidden: list[Any] = [_any(field, values) for field, values in unwanted]
    if conditions.dated_from is not None or conditions.dated_to is not None:
        must.append(_days(conditions.dated_from, conditions.dated_to))
    if conditions.dated_in is not None:
        must.append(edge.Filter(should=[_days(first, last) for first, last in conditions.dated_in]))
    return edge.Filter(must=must, must_not=hidden) if must or hidden else None


def _days(first: int | None, last: int | None) -> edge.FieldCondition:
    days = edge.RangeFloat(
        gte=None if first is None else float(first), lte=None if last is None else float(last)
    )
    return edge.FieldCondition("dated", range=days)


def _any(field: str, values: list[str]) -> edge.FieldCondition:
    return edge.FieldCondition(field, match=edge.MatchAny(values))


def sparse_of(terms: SparseTerms) -> edge.SparseVector:
    return edge.SparseVector(indices=terms.indices, values=terms.values)


def uuid_of(value: object) -> UUID:
    return value if isinstance(value, UUID) else UUID(str(value))


@contextmanager
def edge_errors(act: str) -> Iterator[None]:
    """Qdrant Edge raises bare ``Exception``; they leave here as :class:`IndexFailure`."""
    try:
        yield
    except (IndexFailure, OSError, ValueError, TypeError):
        raise
    except Exception as error:
        raise IndexFailure(f"Qdrant Edge failed to {act} the index: {error}") from error
