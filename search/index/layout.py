"""What lies in an index, whichever kind it is: the names of its vectors, what is stored beside them, and in how large pieces it
is written, read and asked."""

from __future__ import annotations

from typing import Any

from search.index.base import IndexFilter, Point

LAYOUT = 1
"""Of what can be read at all: an index of another one is refused."""
PAYLOAD = 2
"""Of what is stored beside the vectors. An index with less answers, but what filters read of it is not all there: it is made
anew (:mod:`search.rebuilding`). 2: author and language."""
DENSE = "dense"
SPARSE = "bm25"
UPSERT_BATCH = 256
"""Points per call: about 15 ms, for which a question waits that comes in between."""
READ_BATCH = 1000
MIN_PREFETCH = 400
"""Least depth of each list before the fusion. DBSF scales a list by its mean and deviation, which say more of a long
one: docs/search.md has what was measured."""


def payload_of(point: Point) -> dict[str, Any]:
    """What is stored beside the vectors: what filters read, and no text."""
    payload: dict[str, Any] = {
        "collection": str(point.collection_id),
        "document": str(point.document_id),
        "version": str(point.version_id),
        "media_type": point.media_type,
    }
    if point.dated is not None:
        payload["dated"] = point.dated
    if authors := authors_of(point.author):
        payload["author"] = authors
    if point.language:
        payload["language"] = point.language.lower()
    return payload


Terms = list[tuple[str, list[str]]]
"""Fields with the values that are asked for."""


def terms_of(conditions: IndexFilter) -> tuple[Terms, Terms]:
    """The fields of which a point must have one of the values, and those of which it must have none, as
    :func:`payload_of` stores them. Days are not among them.

    Both may be empty, which lets every point through; only :attr:`IndexFilter.allowed` says that, since ``collection_ids`` is
    known not to be empty.
    """
    must: Terms = []
    hidden: Terms = []
    if (allowed := conditions.allowed) is not None:
        (must if allowed[0] else hidden).append(("collection", [str(c) for c in allowed[1]]))
    if conditions.document_ids is not None:
        must.append(("document", [str(d) for d in conditions.document_ids]))
    if conditions.media_types is not None:
        must.append(("media_type", list(conditions.media_types)))
    if conditions.authors is not None:
        must.append(("author", [name_of(author) for author in conditions.authors]))
    if conditions.languages is not None:
        must.append(("language", [language.lower() for language in conditions.languages]))
    return must, hidden


def authors_of(author: str) -> list[str]:
    """The names in a file's author, and all of it, as they are compared: in lower case, with single spaces."""
    names = [author, *author.split(";")] if ";" in author else [author]
    return list(dict.fromkeys(filter(None, (name_of(name) for name in names))))


def name_of(author: str) -> str:
    """One name as it is compared."""
    return " ".join(author.casefold().split())
