"""Documents for the tests of retrieval, as rows like an ingestion leaves them, and a tiny embedder."""

from __future__ import annotations

import re
import uuid
import zlib
from collections.abc import Sequence
from datetime import date

import numpy as np
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage

from search import corpus
from search.index import Vector
from search.models import Chunk, Collection, Document, DocumentVersion, Page
from tenants.models import Organization
from tenants.scope import tenant_scope

DIMENSION = 384


class WordEmbedder:
    """Texts that share words are near: each word is a fixed direction, a text the sum of its words."""

    def embed_query(self, text: str) -> Vector:
        """A unit vector ``[384]``."""
        total = np.full(DIMENSION, 1e-3)
        for word in re.findall(r"\w+", text.lower()):
            total += np.random.default_rng(zlib.crc32(word.encode())).normal(size=DIMENSION)
        return np.asarray(total / np.linalg.norm(total), dtype=np.float32)


EMBEDDER = WordEmbedder()


def collection(organization: Organization, name: str = "General") -> Collection:
    with tenant_scope(organization):
        found = Collection.objects.filter(name=name).first()
        return found or Collection.objects.create(organization=organization, name=name)


def document(
    organization: Organization,
    title: str,
    passages: Sequence[str],
    *,
    collection_name: str = "General",
    media_type: str = "application/pdf",
    dated: date | None = None,
    author: str = "Alice",
    language: str = "en",
    publish: bool = True,
) -> Document:
    """A document of one version; each passage is a page and a chunk of its own. In the index."""
    into = collection(organization, collection_name)
    with tenant_scope(organization):
        row = Document.objects.create(
            organization=organization, collection=into, title=title, filename=f"{title}.pdf"
        )
    add_version(
        organization, row, passages, media_type=media_type, dated=dated, author=author, language=language,
        publish=publish,
    )  # fmt: skip
    return row


def add_version(
    organization: Organization,
    row: Document,
    passages: Sequence[str],
    *,
    media_type: str = "application/pdf",
    dated: date | None = None,
    author: str = "Alice",
    language: str = "en",
    publish: bool = True,
) -> DocumentVersion:
    """Another version of a document, in the index, and published if asked."""
    file = default_storage.save(f"{organization.pk}/{uuid.uuid4().hex}", ContentFile(b"%PDF-"))
    with tenant_scope(organization):
        version = DocumentVersion.objects.create(
            organization=organization, document=row, file=file, sha256="0" * 64, size=5,
            media_type=media_type, author=author, language=language, dated=dated, page_count=len(passages),
        )  # fmt: skip
        for n, text in enumerate(passages):
            Page.objects.create(organization=organization, version=version, number=n + 1, text=text)
            Chunk.objects.create(
                id=uuid.uuid5(version.id, str(n)), organization=organization, version=version, ordinal=n,
                page=n + 1, start=0, end=len(text), text=text, headings=["Part one"],
                embedding=EMBEDDER.embed_query(text).astype("<f2").tobytes(), embedding_model="words",
            )  # fmt: skip
    corpus.index_version(organization, version.id)
    if publish:
        with tenant_scope(organization):
            Document.objects.filter(id=row.id).update(published=version)
    return version
