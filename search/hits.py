"""A passage that was found, from its row.

What always holds: a hit is a passage of a version that is published now, in a collection that the asker may read now,
whatever the index says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from uuid import UUID

import numpy as np
from django.db.models import F, OuterRef, Subquery

from search.index import IndexFilter, Match, Vector
from search.models import Chunk, Page
from search.places import is_paged, place_of
from tenants.models import Organization
from tenants.scope import tenant_scope


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
    more: tuple[Hit, ...] = ()
    """The next best passages of the same document, where hits stand for documents (:mod:`search.documents`)."""

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


def load_hits(
    organization: Organization, matches: Sequence[Match], conditions: IndexFilter, parts: Sequence[Vector]
) -> tuple[list[Hit], dict[UUID, Vector]]:
    """The rows of ``matches`` in their order, without those that are not published or not readable now, and their
    embeddings."""
    with tenant_scope(organization):
        label = Page.objects.filter(version=OuterRef("version"), number=OuterRef("page")).values("label")[:1]
        rows = {
            chunk.id: chunk
            for start in range(0, len(matches), 500)
            for chunk in Chunk.objects.among([match.id for match in matches[start : start + 500]])
            .filter(
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
        similarity=max((_cosine(part, row) for part in parts), default=0.0),
    )


def _cosine(a: Vector, b: Vector) -> float:
    if a.shape != b.shape:
        return 0.0  # the row was embedded by another model; a reindex is due
    lengths = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(np.dot(a, b)) / lengths if lengths > 0 else 0.0
