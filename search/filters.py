"""Filters as they come from people and programs, checked and bounded.

What always holds: what leaves :func:`parse_filters` is small and flat; anything else is a
:class:`FilterError` with a sentence, decided without walking what was sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any
from uuid import UUID

from search.retrieval import SearchFilters

LONGEST_LIST = 100
LONGEST_VALUE = 200
LONGEST_AUTHOR = 300
"""As a row keeps it."""
FIELDS = (
    *("media_types", "collection_ids", "document_ids", "authors", "languages"),
    *("dated_from", "dated_to", "years"),
)


class FilterError(ValueError):
    """A filter that is not understood. Shown under status 400."""

    code = "invalid_filter"
    status = 400


def parse_filters(data: Any) -> SearchFilters:
    """``{"media_types": [..], "collection_ids": [..], "document_ids": [..], "authors": [..], "languages": ["de"], "dated_from": "YYYY-MM-DD",
    "dated_to": .., "years": ["2024"]}``, each optional. Raises :class:`FilterError`."""
    if data is None:
        data = {}
    if not isinstance(data, Mapping) or len(data) > len(FIELDS) or not set(data) <= set(FIELDS):
        raise FilterError(f"Filters are an object with some of: {', '.join(FIELDS)}.")
    return SearchFilters(
        media_types=_texts(data, "media_types"),
        collection_ids=_ids(data, "collection_ids"),
        document_ids=_ids(data, "document_ids"),
        authors=_authors(data),
        languages=_texts(data, "languages"),
        dated_from=_day(data, "dated_from"),
        dated_to=_day(data, "dated_to"),
        years=_years(data),
    )


def filters_json(filters: SearchFilters) -> dict[str, Any]:
    """The JSON that :func:`parse_filters` reads back."""
    values: dict[str, Any] = {
        "media_types": list(filters.media_types or ()),
        "collection_ids": [str(i) for i in filters.collection_ids or ()],
        "document_ids": [str(i) for i in filters.document_ids or ()],
        "authors": list(filters.authors or ()),
        "languages": list(filters.languages or ()),
        "dated_from": filters.dated_from.isoformat() if filters.dated_from else None,
        "dated_to": filters.dated_to.isoformat() if filters.dated_to else None,
        "years": [str(year) for year in filters.years or ()],
    }
    return {name: value for name, value in values.items() if value}


def _authors(data: Mapping[str, Any]) -> tuple[str, ...] | None:
    return tuple(_list(data, "authors", longest=LONGEST_AUTHOR)) or None


def _list(data: Mapping[str, Any], name: str, *, longest: int = LONGEST_VALUE) -> list[str]:
    values = data.get(name)
    if values is None:
        return []
    if not isinstance(values, list | tuple) or len(values) > LONGEST_LIST:
        raise FilterError(f"{name} is a list of at most {LONGEST_LIST} values.")
    if not all(isinstance(value, str) and len(value) <= longest and "\x00" not in value for value in values):
        raise FilterError(f"{name} holds texts of at most {longest} characters.")
    return list(values)


def _texts(data: Mapping[str, Any], name: str) -> tuple[str, ...] | None:
    return tuple(_list(data, name)) or None


def _ids(data: Mapping[str, Any], name: str) -> tuple[UUID, ...] | None:
    try:
        return tuple(UUID(value) for value in _list(data, name)) or None
    except ValueError as error:
        raise FilterError(f"{name} holds an id that is not a UUID.") from error


def _years(data: Mapping[str, Any]) -> tuple[int, ...] | None:
    years = _list(data, "years")
    if not all(year.isascii() and year.isdigit() and 1 <= int(year[:5]) <= 9999 for year in years):
        raise FilterError("years holds years such as 2024.")
    return tuple(int(year) for year in years) or None


def _day(data: Mapping[str, Any], name: str) -> date | None:
    value = data.get(name)
    if value in (None, ""):
        return None
    try:
        return date.fromisoformat(value)
    except (TypeError, ValueError) as error:
        raise FilterError(f"{name} is a day such as 2024-05-31.") from error
