"""The rows of a document and its points in the index, put in step.

What always holds: points are made from rows, never the other way round; what is deleted leaves the index
before its rows go, so that an interruption leaves nothing that trying again would not name and remove, and
once more after them. No scope and no transaction is open while the index works.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any
from uuid import UUID

import numpy as np
from django.core.files.storage import default_storage
from django.db import transaction
from django.db.models import Q, TextField
from django.db.models.functions import Cast

from search import maintenance, streams
from search.evaluation.forgetting import forget_places, places_without
from search.index import Point, VectorIndex, open_index
from search.index.errors import IndexFailure, IndexLocked
from search.index.opening import drop_index, drop_orphan, name_of_index
from search.models import Chunk, Document, DocumentVersion, Turn
from search.retrieval import EPOCH
from tenants.models import Organization
from tenants.scope import tenant_scope

logger = logging.getLogger(__name__)

BATCH = 256
"""Rows that are read, and points that are written, at a time."""


def index_version(
    organization: Organization,
    version_id: UUID,
    *,
    again: bool = False,
    on_batch: Callable[[int], None] = lambda written: None,
) -> int:
    """Writes the points of all passages of a version and flushes; returns how many. May be repeated: ``again`` says that an
    earlier try may have left points of other passages. ``on_batch`` is told the points so far.

    The version is found by nobody until it is its document's published one.
    """
    return index_versions(organization, [version_id], again=[version_id] if again else [], on_batch=on_batch)


def index_versions(
    organization: Organization,
    version_ids: Sequence[UUID],
    *,
    again: Collection[UUID] = (),
    on_batch: Callable[[int], None] = lambda written: None,
) -> int:
    """:func:`index_version` for several versions, with one flush; ``again`` are those of them that are tried again."""

    def write(index: VectorIndex) -> int:
        for version_id in again:
            index.delete_version(version_id)
        written = 0
        for points in batches_of_points(organization, version_ids=version_ids):
            index.upsert(points)
            written += len(points)
            on_batch(written)
        if _is_gone(organization):
            return 0
        index.flush()
        return written

    return _in_the_one_in_use(organization, write)


def _in_the_one_in_use(organization: Organization, act: Callable[[VectorIndex], int]) -> int:
    """What ``act`` returns; done once more where a :func:`search.reindex.reindex` put another index in the place of the one
    that it was done to, and had read that one before."""
    while True:
        name = name_of_index(organization)
        try:
            done = act(open_index(organization))
        except IndexFailure:
            if name_of_index(organization) == name:
                raise
            continue
        if name_of_index(organization) == name:
            return done


def _is_gone(organization: Organization) -> bool:
    """Whether the organisation was deleted. Then what was just written to its index, and would have made it anew, is
    removed. The row is looked at after the last write, and :func:`forget_what_came_late` comes after the row: whichever is
    later leaves nothing."""
    if Organization.objects.filter(pk=organization.pk).exists():
        return False
    drop_orphan(organization.pk)
    return True


def unindex_version(organization: Organization, version_id: UUID) -> None:
    """Deletes the points of a version, whether or not its rows are still there. May be repeated."""
    if _is_gone(organization):
        return

    def remove(index: VectorIndex) -> int:
        index.delete_version(version_id)
        index.flush()
        return 0

    _in_the_one_in_use(organization, remove)


def remove_document(organization: Organization, document_id: UUID) -> bool:
    """Deletes a document: points, files, rows, and what turns, evaluations and feedback quote of it. May be repeated.

    False when the organisation has no such document. The words of questions and answers stay; their citations
    and sources of this document go. Points go a second time after the rows, since a worker may have written
    some while the rows still stood; one that writes later finds no row, and takes its points back itself. A
    version that comes in meanwhile goes with the others.
    """
    with tenant_scope(organization):
        known = Document.objects.filter(id=document_id).update(published=None) > 0
        files = _files_of(document_id)
    _unindex_document(organization, document_id)
    for file in files:
        default_storage.delete(file)
    with tenant_scope(organization), transaction.atomic():
        # Waits for uploads and workers that are writing rows of it, so that those go too.
        Document.objects.select_for_update().filter(id=document_id).first()
        list(DocumentVersion.objects.select_for_update().filter(document_id=document_id))
        late = _files_of(document_id) - files
        Document.objects.filter(id=document_id).delete()
        _forget_citations(document_id)  # last: the deletion has waited for answers that were being kept
    for file in late:
        default_storage.delete(file)
    _unindex_document(organization, document_id)
    return known


def _files_of(document_id: UUID) -> set[str]:
    versions = DocumentVersion.objects.filter(document_id=document_id).exclude(file="")
    return set(versions.values_list("file", flat=True))


def _unindex_document(organization: Organization, document_id: UUID) -> None:
    index = open_index(organization)
    index.delete_document(document_id)
    index.flush()


def forget_organization(organization: Organization) -> None:
    """Deletes what the organisation holds outside the database: its index, its stored files and the events of its
    answers. May be repeated. Where another process holds the embedded index, that one is asked.
    """
    arguments = {"organization": organization.slug}
    try:
        forget_here(arguments, _say_nothing)
    except IndexLocked:
        if maintenance.run("forget_organization", arguments, _say_nothing):
            raise IndexFailure(
                f"The index of {organization.slug} could not be dropped by the process that holds it.",
                hint="The product's log says why; delete the organisation once more when it is mended.",
            ) from None
    for file in stored_files(organization):
        default_storage.delete(file)
    with contextlib.suppress(OSError):
        default_storage.delete(str(organization.pk))  # the folder, where the storage has folders
    maintenance.forget(organization)


def forget_here(arguments: dict[str, Any], write: maintenance.Write) -> int:
    """The part of :func:`forget_organization` that only the process that holds the index can do; returns 0."""
    organization = Organization.objects.get(slug=arguments["organization"])
    drop_index(organization)
    streams.store().forget_organization(organization.pk)
    return 0


def forget_what_came_late(organization: Organization) -> None:
    """Deletes the index once more, of an organisation whose rows are gone: a worker may have written to it meanwhile."""
    arguments = {"key": organization.pk}
    try:
        try:
            failed = forget_index_here(arguments, _say_nothing)
        except IndexLocked:
            failed = maintenance.run("forget_index", arguments, _say_nothing)
    except IndexFailure:
        logger.exception("the index of organisation %s was not looked at again", organization.pk)
        failed = 1
    if failed:
        logger.warning("an index may be left; `manage.py audit_index --repair` removes it")


def forget_index_here(arguments: dict[str, Any], write: maintenance.Write) -> int:
    """Drops the index of an organisation that does not exist any more, by its number (``key``); returns 0."""
    drop_orphan(arguments["key"])
    return 0


def _say_nothing(line: str) -> None:
    """Nobody waits for lines."""


def batches_of_points(
    organization: Organization, *, version_ids: Sequence[UUID] | None = None
) -> Iterator[list[Point]]:
    """The points of some versions, or of all published versions, :data:`BATCH` at a time, ordered by id.

    No scope is open while the caller holds a batch.
    """
    last: UUID | None = None
    while chunks := _read(organization, version_ids, last):
        yield points_for(chunks)
        last = chunks[-1].id


def points_for(chunks: Iterable[Chunk]) -> list[Point]:
    """The points of passages whose version and document are loaded. BM25 reads title, headings and text, and the file's name where
    the title is the file's own."""
    return [_point(chunk) for chunk in chunks]


def _read(organization: Organization, version_ids: Sequence[UUID] | None, after: UUID | None) -> list[Chunk]:
    with tenant_scope(organization):
        rows = Chunk.objects.select_related("version__document").order_by("id")
        rows = (
            rows.filter(version__published_for__isnull=False)
            if version_ids is None
            else rows.filter(version_id__in=version_ids)
        )
        return list((rows if after is None else rows.filter(id__gt=after))[:BATCH])


def _point(chunk: Chunk) -> Point:
    version = chunk.version
    document = version.document
    return Point(
        id=chunk.id,
        dense=np.frombuffer(chunk.embedding, dtype="<f2").astype(np.float32),
        text="\n".join([*_names(document), *chunk.headings, chunk.text]),
        document_id=document.id,
        version_id=version.id,
        collection_id=document.collection_id,
        media_type=version.media_type,
        dated=None if version.dated is None else (version.dated - EPOCH).days,
        author=version.author,
        language=version.language,
    )


def _names(document: Document) -> list[str]:
    """The words by which people ask for a document: also its file's name where the title is the file's own."""
    return [document.title, document.filename] if document.titled_by_file else [document.title]


def _citing_turns(document_id: UUID) -> Any:
    """Turns whose citations, sources or conflicts name the document; JSON keeps an id as it is, so text finds it."""
    text = str(document_id)
    turns = Turn.objects.annotate(
        citations_text=Cast("citations", TextField()),
        sources_text=Cast("sources", TextField()),
        conflicts_text=Cast("conflicts", TextField()),
    )
    named = (
        Q(citations_text__contains=text) | Q(sources_text__contains=text) | Q(conflicts_text__contains=text)
    )
    return turns.filter(named)


def _forget_citations(document_id: UUID) -> None:
    text = str(document_id)
    forget_places(text)
    for turn in list(_citing_turns(document_id)):
        turn.citations = places_without(turn.citations, text)
        turn.sources = places_without(turn.sources, text)
        turn.conflicts = places_without(turn.conflicts, text)
        turn.save(update_fields=["citations", "sources", "conflicts"])


def stored_files(organization: Organization) -> set[str]:
    """The keys of all files of the organisation, which lie in the folder named after its id."""
    folder = str(organization.pk)
    try:
        _, names = default_storage.listdir(folder)
    except FileNotFoundError:
        return set()
    return {f"{folder}/{name}" for name in names}
