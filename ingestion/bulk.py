"""Texts become documents by the thousand: chunked, embedded and kept as the pipeline does it, without a file and a job for
each. For the documents of an evaluation.

What always holds: the passages, their ids, offsets and embeddings are those that the pipeline would make of a text file of
one page; documents and their published versions come in one transaction per batch. The index is the caller's to make.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from django.conf import settings
from django.db import transaction

from inference.embedder import Embedder
from ingestion import blocks, chunking, pipeline
from ingestion.chunking import chunk
from ingestion.language import language_of
from ingestion.parsed import ParsedDocument, ParsedPage, TextChunk
from ingestion.publishing import ROWS_PER_STATEMENT, chunk_rows, page_rows
from search.evaluation.suites import CorpusText
from search.models import Chunk, Collection, Document, DocumentVersion, Page
from tenants.models import Organization
from tenants.scope import tenant_scope

DOCUMENTS_AT_ONCE = 128


@dataclass(frozen=True, slots=True)
class _Prepared:
    source: CorpusText
    parsed: ParsedDocument
    passages: list[TextChunk]


def publish_texts(
    organization: Organization,
    texts: Sequence[CorpusText],
    *,
    embedder: Embedder,
    on_batch: Callable[[int], None] | None = None,
) -> int:
    """Writes new documents with rows of everything but points; returns the passages. ``on_batch`` is told the documents
    so far. The organisation must not have any of the ids."""
    with tenant_scope(organization):
        collection, _ = Collection.objects.get_or_create(organization=organization, name="General")
    written = passages = 0
    for batch in _batches(texts):
        prepared = [_prepare(text, embedder) for text in batch]
        _write(organization, collection, prepared, embedder)
        written += len(batch)
        passages += sum(len(each.passages) for each in prepared)
        if on_batch is not None:
            on_batch(written)
    return passages


def made_from(embedder: Embedder) -> str:
    """SHA-256 of what passages and their embeddings depend on besides the text: the embedder and the code that cuts."""
    code = [inspect.getsource(part) for part in (chunking, blocks, pipeline.embedding_text)]
    numbers = f"{pipeline.CHUNK_TOKENS} {pipeline.LONGEST_PATH}"
    given = [embedder.name, settings.ENV.embedding_format, numbers, *code]
    return hashlib.sha256("\0".join(given).encode()).hexdigest()


def _batches(texts: Sequence[CorpusText]) -> Iterator[Sequence[CorpusText]]:
    for start in range(0, len(texts), DOCUMENTS_AT_ONCE):
        yield texts[start : start + DOCUMENTS_AT_ONCE]


def _prepare(text: CorpusText, embedder: Embedder) -> _Prepared:
    page = ParsedPage(1, text.text)
    parsed = ParsedDocument(media_type=text.media_type, pages=(page,), title=text.title)
    passages = chunk(parsed, tokenizer=embedder.tokenizer, max_tokens=pipeline.CHUNK_TOKENS)
    return _Prepared(text, parsed, passages)


def _write(
    organization: Organization, collection: Collection, prepared: Sequence[_Prepared], embedder: Embedder
) -> None:
    inputs = [
        pipeline.embedding_text(each.source.title, passage) for each in prepared for passage in each.passages
    ]
    vectors = (
        embedder.embed_passages(inputs) if inputs else np.empty((0, embedder.dimension), dtype=np.float32)
    )
    documents = [
        Document(
            organization=organization,
            collection=collection,
            title=each.source.title[:500],
            filename=each.source.id[:500],
            external_id=each.source.id,
        )
        for each in prepared
    ]
    versions = [
        DocumentVersion(
            organization=organization,
            document=document,
            file="",
            sha256=hashlib.sha256(each.source.text.encode()).hexdigest(),
            size=len(each.source.text.encode()),
            media_type=each.source.media_type,
            language=language_of(each.parsed)[:8],
            page_count=1,
        )
        for document, each in zip(documents, prepared, strict=True)
    ]
    pages: list[Page] = []
    chunks: list[Chunk] = []
    at = 0
    for version, each in zip(versions, prepared, strict=True):
        pages += page_rows(version, each.parsed)
        end = at + len(each.passages)
        chunks += chunk_rows(version, each.passages, vectors[at:end], embedder.name)
        at = end
    size = ROWS_PER_STATEMENT
    with tenant_scope(organization), transaction.atomic():
        Document.objects.bulk_create(documents, batch_size=size)
        DocumentVersion.objects.bulk_create(versions, batch_size=size)
        Page.objects.bulk_create(pages, batch_size=size)
        Chunk.objects.bulk_create(chunks, batch_size=size)
        for document, version in zip(documents, versions, strict=True):
            document.published = version
        Document.objects.bulk_update(documents, ["published"], batch_size=size)
