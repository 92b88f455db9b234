"""From a question to the passages that may answer it.

What always holds: a hit is a passage of a version that is published now, in a collection that the asker may
read now, whatever the index says. Each hit's row is checked when it is loaded, and the index is asked for
more where any was dropped. ``similarity`` is the cosine of the question and the row's embedding (of a long
question the nearest part's); the fused score of the index compares passages of one query only.
"""

from __future__ import annotations

import logging
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Protocol
from uuid import UUID

import numpy as np
from django.db.models import F, OuterRef, Subquery

from inference import runtime
from search.duplicates import without_repeats
from search.facets import NO_FACETS, Facets, facets_of
from search.index import IndexFailure, IndexFilter, Match, Vector, open_index
from search.models import Chunk, Collection, Page
from search.places import is_paged, place_of
from search.ranking import by_title_and_phrases
from tenants.models import Organization
from tenants.scope import tenant_scope

logger = logging.getLogger(__name__)

DEPTH = 100
"""Results over which facets are counted, and the least number that is asked of the index."""
MOST_ASKED = 1600
LONGEST_QUERY = 4000
"""Characters of a question that are read."""
EMBEDDED_AT_ONCE = 800
"""Characters of a question in one embedding, since the embedder ignores what follows its first 256 tokens."""
LONGEST_EARLIER = 400
"""Characters of the question before a follow-up, so that the embedder, which reads 256 tokens, reaches the new one."""
ALONE = 0.5
"""The weight of a follow-up's own embedding beside that of it together with the question before it."""
EPOCH = date(1970, 1, 1)


class QueryEmbedder(Protocol):
    """What is needed of :class:`inference.embedder.Embedder`."""

    def embed_query(self, text: str) -> Vector: ...


@dataclass(frozen=True, slots=True)
class SearchFilters:
    """Conditions of which all must hold; None or an empty list sets none. Both dates are included."""

    media_types: tuple[str, ...] | None = None
    collection_ids: tuple[UUID, ...] | None = None
    document_ids: tuple[UUID, ...] | None = None
    dated_from: date | None = None
    dated_to: date | None = None
    authors: tuple[str, ...] | None = None
    """Whole names, whatever their case."""
    languages: tuple[str, ...] | None = None
    """ISO 639-1 codes."""
    years: tuple[int, ...] | None = None
    """1 to 9999; a passage's day lies in one of them."""


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage found: ``text`` is its page's text from ``start`` to ``end``, in code points.

    ``score`` is the fused score, ``similarity`` the cosine with the question (-1 to 1).
    """

    chunk_id: UUID
    document_id: UUID
    version_id: UUID
    collection_id: UUID
    collection_name: str
    title: str
    media_type: str
    dated: date | None
    author: str
    language: str
    page: int
    start: int
    end: int
    text: str
    headings: tuple[str, ...]
    label: str
    """How its parser named the page ("Slide 4"), or empty."""
    within: str
    """Where on the page, in words ("rows 12–30"), or empty."""
    score: float
    similarity: float
    copies: tuple[Hit, ...] = ()
    """Passages that say the same and may be read, too, the best first (:mod:`search.duplicates`)."""

    @property
    def copied_in(self) -> tuple[Hit, ...]:
        """One of the copies of each other document."""
        first = {hit.document_id: hit for hit in reversed(self.copies)}
        return tuple(
            hit
            for hit in self.copies
            if first[hit.document_id] is hit and hit.document_id != self.document_id
        )

    @property
    def is_paged(self) -> bool:
        """Whether a reader of the file sees the number ``page``."""
        return is_paged(self.media_type)

    @property
    def place(self) -> str:
        """Where a reader finds the passage in the file, in words; empty where nothing but the title can be said."""
        return place_of(
            media_type=self.media_type,
            page=self.page,
            label=self.label,
            headings=self.headings,
            title=self.title,
            within=self.within,
        )


@dataclass(frozen=True, slots=True)
class Retrieval:
    """``hits`` best first; ``best_similarity`` is the best cosine of all that was found, or 0."""

    hits: tuple[Hit, ...] = ()
    best_similarity: float = 0.0
    facets: Facets = NO_FACETS


def readable_collections(organization: Organization) -> tuple[UUID, ...]:
    """The collections that members and keys of the organisation may read: all of them."""
    with tenant_scope(organization):
        return tuple(Collection.objects.order_by("name").values_list("id", flat=True))


def retrieve(
    *,
    organization: Organization,
    collection_ids: Sequence[UUID],
    query: str,
    limit: int = 10,
    filters: SearchFilters | None = None,
    embedder: QueryEmbedder | None = None,
    earlier: str = "",
) -> Retrieval:
    """The best passages for ``query`` in the collections that the asker may read, without repeated texts.

    ``earlier`` is the question that a follow-up follows: it is searched for too, with less weight. No ``collection_ids``
    means no result. ``embedder`` is the running one unless given. Raises ``NotReady`` while the embedder loads, and
    :class:`search.index.IndexFailure`. Holds no scope while it waits.
    """
    try:
        return _retrieve(organization, collection_ids, query, limit, filters, embedder, earlier)
    except IndexFailure as error:
        logger.error("the index of organisation %s failed: %s %s", organization.pk, error, error.hint)
        raise


def _retrieve(
    organization: Organization,
    collection_ids: Sequence[UUID],
    query: str,
    limit: int,
    filters: SearchFilters | None,
    embedder: QueryEmbedder | None,
    earlier: str,
) -> Retrieval:
    conditions = _conditions(organization, collection_ids, filters or SearchFilters())
    query = query.strip()[:LONGEST_QUERY]
    if not query or not conditions.collection_ids or limit < 1:
        return Retrieval()
    embedder = embedder or runtime.current().embedder
    parts = _embed(query, embedder)
    direction = _direction(parts)
    earlier = earlier.strip()[:LONGEST_EARLIER]
    if earlier:
        together = _embed(f"{earlier}\n{query}", embedder)
        direction = _direction([_direction(together), np.float32(ALONE) * direction])
        parts += together
    index = open_index(organization)
    wanted, asked = max(limit, DEPTH), max(2 * limit, DEPTH)
    while True:
        matches = index.query(text=query, dense=direction, filter=conditions, limit=asked, earlier=earlier)
        rows, vectors = _load(organization, matches, conditions, parts)
        hits = without_repeats(by_title_and_phrases(query, rows), vectors)
        if len(hits) >= wanted or len(matches) < asked or asked >= MOST_ASKED:
            break
        asked *= 2
    return Retrieval(
        hits=tuple(hits[:limit]),
        best_similarity=max((hit.similarity for hit in rows), default=0.0),
        facets=facets_of(hits[:wanted]),
    )


def _embed(query: str, embedder: QueryEmbedder) -> list[Vector]:
    """The embeddings of the question's parts, all of which the embedder reads to their ends."""
    whole = len(query) <= EMBEDDED_AT_ONCE
    parts = [query] if whole else textwrap.wrap(query, EMBEDDED_AT_ONCE)
    return [embedder.embed_query(part) for part in parts]


def _direction(parts: Sequence[Vector]) -> Vector:
    """What is searched for: the normalised mean of the parts, so that no part of a long question is lost."""
    if len(parts) == 1:
        return parts[0]
    total: Vector = np.asarray(np.sum(parts, axis=0), dtype=np.float32)
    length = float(np.linalg.norm(total))
    return total / np.float32(length) if length > 0 else parts[0]


def _conditions(organization: Organization, readable: Sequence[UUID], filters: SearchFilters) -> IndexFilter:
    chosen = set(filters.collection_ids or readable)
    collections = tuple(c for c in dict.fromkeys(readable) if c in chosen)
    return IndexFilter(
        collection_ids=collections,
        other_collection_ids=_others(organization, collections),
        document_ids=filters.document_ids or None,
        media_types=filters.media_types or None,
        authors=filters.authors or None,
        languages=filters.languages or None,
        dated_from=None if filters.dated_from is None else (filters.dated_from - EPOCH).days,
        dated_to=None if filters.dated_to is None else (filters.dated_to - EPOCH).days,
        dated_in=tuple(_days_of(year) for year in filters.years) if filters.years else None,
    )


def _others(organization: Organization, collections: Sequence[UUID]) -> tuple[UUID, ...]:
    """The organisation's other collections. One that is made meanwhile is still hidden by its rows."""
    with tenant_scope(organization):
        return tuple(Collection.objects.exclude(id__in=collections).values_list("id", flat=True))


def _days_of(year: int) -> tuple[int, int]:
    return (date(year, 1, 1) - EPOCH).days, (date(year, 12, 31) - EPOCH).days


def _load(
    organization: Organization, matches: Sequence[Match], conditions: IndexFilter, parts: Sequence[Vector]
) -> tuple[list[Hit], dict[UUID, Vector]]:
    """The rows of ``matches`` in their order, without those that are not published or not readable now, and their
    embeddings."""
    with tenant_scope(organization):
        label = Page.objects.filter(version=OuterRef("version"), number=OuterRef("page")).values("label")[:1]
        rows = {
            chunk.id: chunk
            for start in range(0, len(matches), 500)
            for chunk in Chunk.objects.filter(
                id__in=[match.id for match in matches[start : start + 500]],
                version__published_for=F("version__document"),
                version__document__collection__in=conditions.collection_ids,
            )
            .select_related("version__document__collection")
            .annotate(page_label=Subquery(label))
        }
    vectors = {
        id: np.frombuffer(chunk.embedding, dtype="<f2").astype(np.float32) for id, chunk in rows.items()
    }
    hits = [_hit(rows[m.id], vectors[m.id], m.score, parts) for m in matches if m.id in rows]
    return hits, vectors


def _hit(chunk: Chunk, row: Vector, score: float, parts: Sequence[Vector]) -> Hit:
    version = chunk.version
    document = version.document
    return Hit(
        chunk_id=chunk.id,
        document_id=document.id,
        version_id=version.id,
        collection_id=document.collection_id,
        collection_name=document.collection.name,
        title=document.title,
        media_type=version.media_type,
        dated=version.dated,
        author=version.author,
        language=version.language,
        page=chunk.page,
        start=chunk.start,
        end=chunk.end,
        text=chunk.text,
        headings=tuple(chunk.headings),
        label=getattr(chunk, "page_label", None) or "",
        within=chunk.place,
        score=score,
        similarity=max(_cosine(part, row) for part in parts),
    )


def _cosine(a: Vector, b: Vector) -> float:
    if a.shape != b.shape:
        return 0.0  # the row was embedded by another model; a reindex is due
    lengths = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(np.dot(a, b)) / lengths if lengths > 0 else 0.0
