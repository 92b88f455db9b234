"""Documents as results: the passages of each under one title.

What always holds: a document stands where its best passage stood; a passage is in one place only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID

from search.hits import Hit

SHOWN = 3
"""Passages of a document, the best one counted."""


def documents_of(hits: Sequence[Hit]) -> list[Hit]:
    """The best hit of each document in their order, each with the next best of its document in ``more``."""
    found: dict[UUID, list[Hit]] = {}
    for hit in hits:
        found.setdefault(hit.document_id, []).append(hit)
    return [replace(best, more=tuple(rest[: SHOWN - 1])) for best, *rest in found.values()]
