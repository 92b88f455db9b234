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

from inference import runtime
from search.documents import documents_of
from search.duplicates import without_repeats
from search.facets import NO_FACETS, Facets, facets_of
from search.hits import Hit, load_hits
from search.index import IndexFailure, IndexFilter, Vector, open_index
from search.models import Collection
from search.ranking import by_title_and_phrases
from search.spelling import corrected
from tenants.models import Organization
from tenants.scope import tenant_scope

logger = logging.getLogger(__name__)

DEPTH = 100
"""Results over which facets are counted, and the least number that is asked of the index."""
MOST_ASKED = 1600
WITNESSES = 20
"""Passages with a word, of which one must be readable for the word to be right."""
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
class Retrieval:
    """``hits`` best first; ``best_similarity`` is the best cosine of all that was found, or 0."""

    hits: tuple[Hit, ...] = ()
    best_similarity: float = 0.0
    facets: Facets = NO_FACETS
    corrected: str = ""
    """The question with its spelling corrected, where it was searched for like that, too."""


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
    as_typed: bool = False,
    by_document: bool = False,
) -> Retrieval:
    """The best passages for ``query`` in the collections that the asker may read, without repeated texts.

    ``earlier`` is the question that a follow-up follows: it is searched for too, with less weight. Misspelt words are searched
    for as readable passages have them, unless ``as_typed``. With ``by_document`` each hit is the best of its document, with
    others of it in ``more``. No ``collection_ids`` means no result. ``embedder`` is the running one unless given. Raises
    ``NotReady`` while the embedder loads, and :class:`search.index.IndexFailure`. Holds no scope while it waits.
    """
    try:
        asker = _Asker(organization, collection_ids, filters or SearchFilters(), embedder, earlier)
        return asker.retrieve(query, limit, as_typed=as_typed, by_document=by_document)
    except IndexFailure as error:
        logger.error("the index of organisation %s failed: %s %s", organization.pk, error, error.hint)
        raise


class _Asker:
    """What stays the same where one question is searched for twice, as it is and with its spelling corrected."""

    def __init__(
        self,
        organization: Organization,
        readable: Sequence[UUID],
        filters: SearchFilters,
        embedder: QueryEmbedder | None,
        earlier: str,
    ) -> None:
        self._organization = organization
        self._readable = readable
        self._conditions = _conditions(organization, readable, filters)
        self._given = embedder
        self._earlier = earlier.strip()[:LONGEST_EARLIER]

    def retrieve(self, query: str, limit: int, *, as_typed: bool, by_document: bool) -> Retrieval:
        query = query.strip()[:LONGEST_QUERY]
        if not query or not self._conditions.collection_ids or limit < 1:
            return Retrieval()
        rows, hits = self._find(query, limit)
        corrected = "" if as_typed else self._corrected(query, rows)
        best = max((hit.similarity for hit in rows), default=0.0)
        if corrected:
            rows, hits = self._find(corrected, limit)
            best = max(best, *(hit.similarity for hit in rows)) if rows else best
        shown = documents_of(hits) if by_document else hits
        return Retrieval(
            hits=tuple(shown[:limit]),
            best_similarity=best,
            facets=facets_of(hits[: max(limit, DEPTH)]),
            corrected=corrected,
        )

    def _find(self, query: str, limit: int) -> tuple[list[Hit], list[Hit]]:
        """All rows that were found, and the hits that they make, best first."""
        embedder = self._given or runtime.current().embedder
        parts = _embed(query, embedder)
        direction = _direction(parts)
        if self._earlier:
            together = _embed(f"{self._earlier}\n{query}", embedder)
            direction = _direction([_direction(together), np.float32(ALONE) * direction])
            parts += together
        index = open_index(self._organization)
        wanted, asked = max(limit, DEPTH), max(2 * limit, DEPTH)
        while True:
            matches = index.query(
                text=query, dense=direction, filter=self._conditions, limit=asked, earlier=self._earlier
            )
            rows, vectors = load_hits(self._organization, matches, self._conditions, parts)
            hits = without_repeats(by_title_and_phrases(query, rows), vectors)
            if len(hits) >= wanted or len(matches) < asked or asked >= MOST_ASKED:
                return rows, hits
            asked *= 2

    def _corrected(self, query: str, rows: Sequence[Hit]) -> str:
        texts = ("\n".join([hit.title, *hit.headings, hit.text]) for hit in rows[:DEPTH])
        return corrected(query, texts, self._is_known)

    def _is_known(self, word: str) -> bool:
        """Whether any passage that the asker may read has the word, whatever the filters of this search."""
        readable = _conditions(self._organization, self._readable, SearchFilters())
        index = open_index(self._organization)
        matches = index.query(text=word, dense=None, filter=readable, limit=WITNESSES)
        return bool(load_hits(self._organization, matches, readable, ())[0])


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
