"""Documents for tests of searching: published, each paragraph a chunk."""

from __future__ import annotations

import hashlib
import uuid
from datetime import date
from typing import Any

import numpy as np

from search.corpus import index_version
from search.models import Chunk, Collection, Document, DocumentVersion, Page
from tenants.models import Organization
from tenants.scope import tenant_scope


def add_document(
    organization: Organization,
    title: str,
    *pages: str,
    embedder: Any,
    collection: str = "General",
    media_type: str = "application/pdf",
    dated: date | None = None,
) -> uuid.UUID:
    """A document of ``organization`` that can be found; a blank line in a page separates chunks."""
    with tenant_scope(organization):
        home, _ = Collection.objects.get_or_create(organization=organization, name=collection)
        document = Document.objects.create(
            organization=organization, collection=home, title=title, filename=f"{title}.pdf"
        )
        version = DocumentVersion.objects.create(
            organization=organization, document=document, file="x", size=1, media_type=media_type,
            dated=dated, sha256=hashlib.sha256(title.encode()).hexdigest(), page_count=len(pages),
        )  # fmt: skip
        for number, text in enumerate(pages, 1):
            Page.objects.create(organization=organization, version=version, number=number, text=text)
            _add_chunks(organization, version, number, text, embedder)
    index_version(organization, version.id)
    with tenant_scope(organization):
        Document.objects.filter(id=document.id).update(published=version)
    return document.id


def _add_chunks(
    organization: Organization, version: DocumentVersion, number: int, text: str, embedder: Any
) -> None:
    at = 0
    for ordinal, paragraph in enumerate(text.split("\n\n")):
        start = text.index(paragraph, at)
        at = start + len(paragraph)
        Chunk.objects.create(
            organization=organization, version=version, id=uuid.uuid4(), ordinal=number * 1000 + ordinal,
            page=number, start=start, end=at, text=paragraph, embedding_model=embedder.name,
            embedding=np.asarray(embedder.embed_query(paragraph), dtype="<f2").tobytes(),
        )  # fmt: skip


def page_text(organization: Organization, document_id: Any, number: int) -> str:
    """The text of a page of the published version."""
    with tenant_scope(organization):
        page = Page.objects.get(version__published_for=document_id, number=number)
        return page.text
