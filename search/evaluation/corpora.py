"""The documents of a suite, in an internal organisation of their own, made once and kept.

What always holds: the organisation has no members and no keys and stands in no list; its passages are made and indexed by
the product's own code (:class:`Publisher`, which ingestion provides), and made anew when the documents, the embedder or that
code have changed; what was interrupted is begun again.
"""

from __future__ import annotations

import hashlib
import inspect
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from uuid import UUID

from django.core.files.storage import default_storage
from django.utils import timezone

from inference.embedder import Embedder
from search import corpus
from search.corpus import stored_files
from search.evaluation.models import EvaluationCorpus
from search.evaluation.suites import CorpusText, Suite, SuiteError, fingerprint
from search.index import edge, edge_types, layout, server, sparse
from search.models import Chunk, Document, DocumentVersion
from search.reindex import reindex
from tenants.models import Organization
from tenants.scope import tenant_scope

Say = Callable[[str], None]

DELETED_AT_ONCE = 500
TELL_SECONDS = 5.0


class Publisher(Protocol):
    """How documents come into an organisation: what ingestion offers."""

    def texts(
        self,
        organization: Organization,
        texts: Sequence[CorpusText],
        *,
        embedder: Embedder,
        on_batch: Callable[[int], None],
    ) -> int:
        """Writes the rows of new documents; returns their passages. Points are not written."""
        ...

    def files(self, organization: Organization, files: Sequence[Path], *, say: Say) -> None:
        """Ingests files as uploads, the file's name as external id; returns when all are ready. Raises
        :class:`SuiteError` for one that failed."""
        ...

    def made_from(self, embedder: Embedder) -> str:
        """A hash of what passages depend on besides the text."""
        ...


@dataclass(frozen=True, slots=True)
class Corpus:
    """``names`` tells a document's name in the suite by its id."""

    organization: Organization
    names: dict[UUID, str]
    passages: int


def slug_of(suite: str) -> str:
    """The slug of the internal organisation that holds the documents of a suite."""
    return "evaluation-" + re.sub(r"[^a-z0-9]+", "-", suite.lower()).strip("-")[:29].strip("-")


def organization_of(suite: str) -> Organization:
    """The internal organisation of a suite, made if there is none. Raises :class:`SuiteError` where somebody has its slug."""
    slug = slug_of(suite)
    found, _ = Organization.objects.get_or_create(
        slug=slug, defaults={"name": f"Evaluation: {suite}"[:120], "is_internal": True}
    )
    if not found.is_internal:
        raise SuiteError(
            f"An organisation of users has the slug {slug!r}.", hint="Name the suite's folder otherwise."
        )
    return found


def prepare(suite: Suite, *, embedder: Embedder, publisher: Publisher, say: Say) -> Corpus:
    """The documents of ``suite``, made where they are not there as they should be."""
    organization = organization_of(suite.name)
    rows = _hash(fingerprint(suite), publisher.made_from(embedder))
    index = _hash(
        *(inspect.getsource(module) for module in (corpus, edge, edge_types, layout, server, sparse))
    )
    with tenant_scope(organization):
        state, _ = EvaluationCorpus.objects.get_or_create(
            organization=organization, defaults={"suite": suite.name}
        )
    if state.rows_made_from != rows:
        _keep(state, rows_made_from="", index_made_from="")
        _make(organization, suite, embedder, publisher, say)
        with tenant_scope(organization):
            passages = Chunk.objects.filter(version__published_for__isnull=False).count()
        _keep(state, rows_made_from=rows, passages=passages, made_at=timezone.now())
    if state.index_made_from != index:
        say(f"{suite.name}: indexing {state.passages} passages")
        reindex(organization)
        _keep(state, index_made_from=index)
    return Corpus(organization, names_of(organization), state.passages)


def names_of(organization: Organization) -> dict[UUID, str]:
    """The external ids of the organisation's documents; of those without one the id."""
    with tenant_scope(organization):
        rows = Document.objects.values_list("id", "external_id")
        return {id: external or str(id) for id, external in rows.iterator(2000)}


def _make(
    organization: Organization, suite: Suite, embedder: Embedder, publisher: Publisher, say: Say
) -> None:
    _clear(organization)
    if suite.files:
        publisher.files(organization, suite.files, say=say)
        return
    total, told = len(suite.texts), 0.0

    def tell(done: int) -> None:
        nonlocal told
        if done == total or time.monotonic() - told >= TELL_SECONDS:
            say(f"{suite.name}: {done} of {total} documents")
            told = time.monotonic()

    publisher.texts(organization, suite.texts, embedder=embedder, on_batch=tell)


def _clear(organization: Organization) -> None:
    for file in stored_files(organization):
        default_storage.delete(file)
    while True:
        with tenant_scope(organization):
            ids = list(Document.objects.values_list("id", flat=True)[:DELETED_AT_ONCE])
            Document.objects.filter(id__in=ids).update(published=None)
            DocumentVersion.objects.filter(document_id__in=ids).delete()
            Document.objects.filter(id__in=ids).delete()
        if not ids:
            return


def _keep(state: EvaluationCorpus, **values: object) -> None:
    with tenant_scope(state.organization):
        EvaluationCorpus.objects.filter(pk=state.pk).update(**values)
    for name, value in values.items():
        setattr(state, name, value)


def _hash(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
