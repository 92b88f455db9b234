"""A Qdrant server through qdrant-client, one collection per organisation.

What always holds: an object knows the one collection that it was made for; every write waits until it is
applied; the BM25 weights are made here, by the encoder that the embedded index uses.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import httpx
import numpy as np
from qdrant_client import QdrantClient, models
from qdrant_client.common.client_exceptions import ResourceExhaustedResponse
from qdrant_client.http.exceptions import ApiException, ResponseHandlingException, UnexpectedResponse

from search.index.base import IndexFilter, IndexState, Match, Point, Vector
from search.index.checks import check_limit, check_points, check_vector
from search.index.errors import IndexAway, IndexClosed, IndexFailure, IndexMismatch, LocalModeRefused
from search.index.layout import (
    DENSE,
    LAYOUT,
    MIN_PREFETCH,
    PAYLOAD,
    READ_BATCH,
    SPARSE,
    UPSERT_BATCH,
    payload_of,
    terms_of,
)
from search.index.sparse import DEFAULT_AVERAGE_LENGTH, Bm25Encoder, SparseTerms

PREFIX = "tessera_"
TIMEOUT_S = 30
AWAY_STATUS = frozenset({408, 429, 502, 503, 504})
"""What a proxy in front of a server that starts, or a server that is too busy, answers."""


def connect(url: str, api_key: str = "", **options: Any) -> QdrantClient:
    """A client of the server at ``url``. Raises ``LocalModeRefused`` for anything but an http address.

    ``options`` go to the HTTP client (a transport, for instance).
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise LocalModeRefused(f"{url!r} is not the address of a Qdrant server.")
    return QdrantClient(
        url=url, api_key=api_key or None, timeout=TIMEOUT_S, check_compatibility=False, **options
    )


class ServerIndex:
    """A :class:`search.index.base.VectorIndex` over the collection ``tessera_<key>``.

    The client is shared and stays open when this object is closed.
    """

    def __init__(
        self,
        client: QdrantClient,
        key: str,
        *,
        dimension: int,
        average_length: float = DEFAULT_AVERAGE_LENGTH,
    ) -> None:
        if not key:
            raise ValueError("An index is opened for one organisation.")
        self._client = client
        self._name = f"{PREFIX}{key}"
        self._dimension = dimension
        self._bm25 = Bm25Encoder(average_length)
        self._guard = threading.Lock()
        self._ready = False
        self._closed = False

    @property
    def average_length(self) -> float:
        """The mean passage length that the stored BM25 weights were made with."""
        return self._bm25.average_length

    def ensure(self) -> None:
        """Creates the collection unless it is there. Raises ``IndexMismatch``, ``IndexClosed``."""
        with self._guard:
            if self._closed:
                raise IndexClosed("The index was closed.")
            if self._ready:
                return
            with _server_errors("open"):
                if not self._client.collection_exists(self._name):
                    self._create()
                self._adopt()
            self._ready = True

    def upsert(self, points: Sequence[Point]) -> None:
        check_points(points, self._dimension)
        with self._open("write to") as client:
            for start in range(0, len(points), UPSERT_BATCH):
                batch = [self._encode(point) for point in points[start : start + UPSERT_BATCH]]
                client.upsert(self._name, points=batch, wait=True)

    def delete(self, ids: Sequence[UUID]) -> None:
        with self._open("write to") as client:
            for start in range(0, len(ids), READ_BATCH):
                batch: list[Any] = [str(i) for i in ids[start : start + READ_BATCH]]
                client.delete(self._name, points_selector=models.PointIdsList(points=batch), wait=True)

    def delete_document(self, document_id: UUID) -> None:
        self._delete_where("document", document_id)

    def delete_version(self, version_id: UUID) -> None:
        self._delete_where("version", version_id)

    def _delete_where(self, field: str, value: UUID) -> None:
        match = models.MatchValue(value=str(value))
        condition = models.Filter(must=[models.FieldCondition(key=field, match=match)])
        with self._open("write to") as client:
            client.delete(self._name, points_selector=models.FilterSelector(filter=condition), wait=True)

    def query(
        self, *, text: str, dense: Vector | None, filter: IndexFilter, limit: int, earlier: str = ""
    ) -> list[Match]:
        check_limit(limit)
        if dense is not None:
            check_vector(dense, self._dimension, "the query")
        lists = [terms for terms in self._bm25.lists(text, earlier) if terms.indices]
        if filter.matches_nothing or (dense is None and not lists):
            return []
        with self._open("query") as client:
            condition = _filter(filter)
            depth = max(limit, MIN_PREFETCH)
            prefetch = [
                models.Prefetch(query=_sparse(terms), using=SPARSE, filter=condition, limit=depth)
                for terms in lists
            ]
            if dense is not None:
                prefetch.insert(
                    0, models.Prefetch(query=dense.tolist(), using=DENSE, filter=condition, limit=depth)
                )
            answer = client.query_points(
                self._name,
                prefetch=prefetch,
                query=models.FusionQuery(fusion=models.Fusion.DBSF),
                query_filter=condition,
                limit=limit,
                with_payload=False,
                with_vectors=False,
            )
            return [Match(UUID(str(found.id)), float(found.score)) for found in answer.points]

    def payload(self) -> int:
        """The :data:`search.index.layout.PAYLOAD` that the collection was made with; the present one where there is none."""
        with _server_errors("open"):
            if not self._client.collection_exists(self._name):
                return PAYLOAD
            metadata = self._client.get_collection(self._name).config.metadata or {}
        return int(metadata.get("payload", 1))

    def count(self) -> int:
        with self._open("count") as client:
            return int(client.count(self._name, exact=True).count)

    def state(self) -> IndexState:
        points = self.count()
        return IndexState(points=points, outside_graph=0, average_length=self.average_length)

    def ids(self) -> set[UUID]:
        found: set[UUID] = set()
        offset: Any = None
        with self._open("read") as client:
            while True:
                records, offset = client.scroll(
                    self._name, offset=offset, limit=READ_BATCH, with_payload=False, with_vectors=False
                )
                found.update(UUID(str(record.id)) for record in records)
                if offset is None:
                    return found

    def vectors(self, ids: Sequence[UUID]) -> dict[UUID, Vector]:
        found: dict[UUID, Vector] = {}
        with self._open("read") as client:
            for start in range(0, len(ids), READ_BATCH):
                batch = [str(i) for i in ids[start : start + READ_BATCH]]
                for record in client.retrieve(self._name, batch, with_payload=False, with_vectors=[DENSE]):
                    vectors: Any = record.vector
                    found[UUID(str(record.id))] = np.asarray(vectors[DENSE], dtype=np.float32)
        return found

    def flush(self) -> None:
        """Nothing to do: every write has waited until the server applied and logged it."""

    def optimize(self) -> None:
        """Nothing to do: a server builds its graphs by itself."""

    def drop(self) -> None:
        """Deletes the collection. A later :meth:`ensure` creates an empty one."""
        with self._guard:
            if self._closed:
                raise IndexClosed("The index was closed.")
            with _server_errors("drop"):
                self._client.delete_collection(self._name)
            self._ready = False

    def close(self) -> None:
        """Every later call raises ``IndexClosed``. Idempotent."""
        with self._guard:
            self._closed = True

    @contextmanager
    def _open(self, act: str) -> Iterator[QdrantClient]:
        self.ensure()
        with _server_errors(act):
            yield self._client

    def _create(self) -> None:
        self._client.create_collection(
            self._name,
            vectors_config={DENSE: models.VectorParams(size=self._dimension, distance=models.Distance.DOT)},
            sparse_vectors_config={SPARSE: models.SparseVectorParams(modifier=models.Modifier.IDF)},
            metadata={"layout": LAYOUT, "payload": PAYLOAD, "average_length": self.average_length},
        )
        schemas: tuple[tuple[str, Any], ...] = (
            ("collection", models.PayloadSchemaType.UUID),
            ("document", models.PayloadSchemaType.UUID),
            ("version", models.PayloadSchemaType.UUID),
            ("media_type", models.PayloadSchemaType.KEYWORD),
            ("author", models.PayloadSchemaType.KEYWORD),
            ("language", models.PayloadSchemaType.KEYWORD),
            (
                "dated",
                models.IntegerIndexParams(type=models.IntegerIndexType.INTEGER, lookup=False, range=True),
            ),
        )
        for field, schema in schemas:
            self._client.create_payload_index(self._name, field, field_schema=schema, wait=True)

    def _adopt(self) -> None:
        """Takes the saved mean length, after checking that the collection is one for these vectors."""
        config = self._client.get_collection(self._name).config
        metadata = config.metadata or {}
        vectors = config.params.vectors
        dense = vectors.get(DENSE) if isinstance(vectors, dict) else None
        size = dense.size if dense is not None else None
        if metadata.get("layout") != LAYOUT or size != self._dimension:
            raise IndexMismatch(
                f"The collection {self._name} holds vectors of {size} dimensions in layout "
                f"{metadata.get('layout')}; {self._dimension} dimensions in layout {LAYOUT} are needed."
            )
        self._bm25 = Bm25Encoder(float(metadata["average_length"]))

    def _encode(self, point: Point) -> models.PointStruct:
        terms = self._bm25.passage(point.text)
        vectors: dict[str, Any] = {DENSE: point.dense.tolist()}
        if terms.indices:
            vectors[SPARSE] = _sparse(terms)
        return models.PointStruct(id=str(point.id), vector=vectors, payload=payload_of(point))


def _filter(conditions: IndexFilter) -> models.Filter | None:
    """None where every point may be found."""
    wanted, unwanted = terms_of(conditions)
    must: list[models.Condition] = [_any(field, values) for field, values in wanted]
    hidden: list[models.Condition] = [_any(field, values) for field, values in unwanted]
    if conditions.dated_from is not None or conditions.dated_to is not None:
        must.append(_days(conditions.dated_from, conditions.dated_to))
    if conditions.dated_in is not None:
        must.append(models.Filter(should=[_days(first, last) for first, last in conditions.dated_in]))
    return models.Filter(must=must or None, must_not=hidden or None) if must or hidden else None


def _days(first: int | None, last: int | None) -> models.FieldCondition:
    return models.FieldCondition(key="dated", range=models.Range(gte=first, lte=last))


def _any(field: str, values: list[str]) -> models.FieldCondition:
    return models.FieldCondition(key=field, match=models.MatchAny(any=values))


def _sparse(terms: SparseTerms) -> models.SparseVector:
    return models.SparseVector(indices=terms.indices, values=terms.values)


@contextmanager
def _server_errors(act: str) -> Iterator[None]:
    """What the client raises about the server leaves here as :class:`IndexFailure`, as :class:`IndexAway` where the
    server was not reached or could not answer for now."""
    try:
        yield
    except (ApiException, ResourceExhaustedResponse) as error:
        cause = error.source if isinstance(error, ResponseHandlingException) else error
        kind = IndexAway if _is_away(cause) else IndexFailure
        raise kind(
            f"The Qdrant server failed to {act} the index: {str(cause) or type(cause).__name__}",
            hint="Check that the Qdrant server runs and that TESSERA_QDRANT_URL and its key are right.",
        ) from error


def _is_away(cause: Exception) -> bool:
    if isinstance(cause, UnexpectedResponse):
        return cause.status_code in AWAY_STATUS
    return isinstance(cause, (httpx.TransportError, ResourceExhaustedResponse))
