"""What results have in common, counted, for people to choose from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from search.hits import Hit


@dataclass(frozen=True, slots=True)
class FacetCount:
    """How many results have ``value``; ``label`` is for people."""

    value: str
    label: str
    count: int


@dataclass(frozen=True, slots=True)
class Facets:
    """Counts over the best results (:data:`search.retrieval.DEPTH`), the most frequent value first (years: the latest first)."""

    media_types: tuple[FacetCount, ...] = ()
    years: tuple[FacetCount, ...] = ()
    collections: tuple[FacetCount, ...] = ()
    authors: tuple[FacetCount, ...] = ()
    languages: tuple[FacetCount, ...] = ()


NO_FACETS = Facets()


def facets_of(hits: Sequence[Hit]) -> Facets:
    names = {str(hit.collection_id): hit.collection_name for hit in hits}
    types = Counter(hit.media_type for hit in hits if hit.media_type)
    years = Counter(str(hit.dated.year) for hit in hits if hit.dated is not None)
    collections = Counter(str(hit.collection_id) for hit in hits)
    authors = Counter(" ".join(hit.author.split()) for hit in hits if hit.author.strip())
    languages = Counter(hit.language for hit in hits if hit.language)
    return Facets(
        media_types=tuple(FacetCount(value, value, count) for value, count in _most_frequent(types)),
        years=tuple(FacetCount(value, value, years[value]) for value in sorted(years, key=int, reverse=True)),
        collections=tuple(FacetCount(value, names[value], n) for value, n in _most_frequent(collections)),
        authors=tuple(FacetCount(value, value, n) for value, n in _most_frequent(authors)),
        languages=tuple(FacetCount(value, value, n) for value, n in _most_frequent(languages)),
    )


def _most_frequent(counts: Counter[str]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))
