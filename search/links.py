"""Addresses of places in documents, as the pages and the streams show them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.urls import reverse


def document_url(
    slug: str, document_id: UUID | str, *, page: int, start: int, end: int, version: UUID | str = ""
) -> str:
    """The document's page with the passage marked; offsets are code points of the page's text in ``version``, so
    that nothing is marked once another version took its place."""
    place = {"page": page, "start": start, "end": end}
    query = urlencode({**place, "version": version} if version else place)
    return f"{reverse('document', args=[slug, document_id])}?{query}"


def citation_url(slug: str, citation: Mapping[str, Any]) -> str:
    """The address of a citation's JSON form."""
    return document_url(
        slug,
        citation["document_id"],
        page=citation["page"],
        start=citation["start"],
        end=citation["end"],
        version=citation.get("version_id", ""),
    )


def citation_links(slug: str, citations: Iterable[Mapping[str, Any]]) -> dict[int, str]:
    """The addresses of citations by their number."""
    return {citation["n"]: citation_url(slug, citation) for citation in citations}


def citation_names(citations: Iterable[Mapping[str, Any]]) -> dict[int, str]:
    """Title and place of citations by their number, as a person reads them."""
    return {c["n"]: ", ".join(filter(None, (c["title"], c["place"]))) for c in citations}
