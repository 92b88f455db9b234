"""Whatever the index holds, a hit is published now and readable now, and dropped hits are made up for."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import pytest

from search import retrieval
from search.index import open_index
from search.index.base import IndexFilter, Match, Vector
from search.models import Chunk, Document
from search.retrieval import Retrieval, SearchFilters, readable_collections, retrieve
from tenants.models import Organization
from tenants.scope import tenant_scope
from tests.search.corpus_rows import EMBEDDER, add_version, collection, document


def ask(
    organization: Organization,
    query: str,
    collection_ids: Sequence[UUID] | None = None,
    limit: int = 10,
    filters: SearchFilters | None = None,
) -> Retrieval:
    readable = readable_collections(organization) if collection_ids is None else collection_ids
    return retrieve(
        organization=organization,
        collection_ids=readable,
        query=query,
        limit=limit,
        filters=filters,
        embedder=EMBEDDER,
    )


def texts(found: Retrieval) -> list[str]:
    return [hit.text for hit in found.hits]


def test_another_organisation_finds_nothing(acme: Organization, globex: Organization) -> None:
    document(acme, "Secret", ["canary K7QX in the coal mine"])
    document(globex, "Public", ["weather in the coal mine"])
    found = ask(globex, "canary K7QX")
    assert texts(found) == ["weather in the coal mine"]
    assert "canary" not in repr(found)


def test_collections_of_another_organisation_open_nothing(acme: Organization, globex: Organization) -> None:
    document(acme, "Secret", ["canary K7QX"])
    document(globex, "Public", ["weather"])
    theirs = readable_collections(acme)
    assert ask(globex, "canary", collection_ids=theirs) == Retrieval()
    both = ask(globex, "canary", collection_ids=[*theirs, *readable_collections(globex)])
    assert texts(both) == ["weather"]
    filters = SearchFilters(collection_ids=theirs)
    assert ask(globex, "canary", filters=filters) == Retrieval()


def test_points_of_acme_in_the_index_of_globex_would_still_not_be_shown(
    acme: Organization, globex: Organization
) -> None:
    from search.corpus import batches_of_points
    from search.index import open_index

    document(acme, "Secret", ["canary K7QX"])
    document(globex, "Public", ["weather"])
    for points in batches_of_points(acme):
        open_index(globex).upsert(points)
    everything = [*readable_collections(acme), *readable_collections(globex)]
    assert texts(ask(globex, "canary K7QX", collection_ids=everything)) == ["weather"]


def test_no_readable_collection_finds_nothing(acme: Organization) -> None:
    document(acme, "A", ["impeller"])
    assert ask(acme, "impeller", collection_ids=()) == Retrieval()


def test_a_filter_cannot_widen_what_may_be_read(acme: Organization) -> None:
    document(acme, "Open", ["impeller open"])
    closed = document(acme, "Closed", ["impeller closed"], collection_name="Board")
    readable = [collection(acme).id]
    filters = SearchFilters(collection_ids=(closed.collection_id,))
    assert ask(acme, "impeller", collection_ids=readable, filters=filters) == Retrieval()
    by_document = SearchFilters(document_ids=(closed.id,))
    assert ask(acme, "impeller", collection_ids=readable, filters=by_document) == Retrieval()


def test_a_document_moved_out_of_reach_is_dropped_though_the_index_still_has_it(acme: Organization) -> None:
    moved = document(acme, "Moved", ["impeller moved"])
    document(acme, "Stays", ["impeller stays"])
    board = collection(acme, "Board")
    with tenant_scope(acme):
        Document.objects.filter(id=moved.id).update(collection=board)
    found = ask(acme, "impeller", collection_ids=[collection(acme).id])
    assert texts(found) == ["impeller stays"]


def test_an_unpublished_version_is_never_found(acme: Organization) -> None:
    document(acme, "Half done", ["impeller half done"], publish=False)
    found = ask(acme, "impeller")
    assert found == Retrieval()


def test_a_new_version_replaces_the_old_one_at_the_pointer(acme: Organization) -> None:
    row = document(acme, "Rates", ["impeller price 10 euros"])
    draft = add_version(acme, row, ["impeller price 20 euros"], publish=False)
    assert texts(ask(acme, "impeller price")) == ["impeller price 10 euros"]
    with tenant_scope(acme):
        Document.objects.filter(id=row.id).update(published=draft)
    assert texts(ask(acme, "impeller price")) == ["impeller price 20 euros"]


def test_dropped_hits_are_made_up_for(acme: Organization) -> None:
    document(acme, "Old", [f"impeller draft {n}" for n in range(250)], publish=False)
    document(acme, "New", [f"the pump of the impeller in hall {n}" for n in range(6)])
    found = ask(acme, "impeller draft", limit=5)
    assert len(found.hits) == 5
    assert {hit.title for hit in found.hits} == {"New"}


def test_a_row_that_is_gone_is_not_shown(acme: Organization) -> None:
    row = document(acme, "A", ["impeller one", "impeller two"])
    with tenant_scope(acme):
        Chunk.objects.filter(version__document=row, text="impeller one").delete()
    assert texts(ask(acme, "impeller")) == ["impeller two"]


def test_the_similarity_counts_only_what_may_be_read(acme: Organization) -> None:
    document(acme, "Closed", ["canary K7QX"], collection_name="Board")
    document(acme, "Open", ["weather report"])
    assert ask(acme, "canary K7QX", collection_ids=[collection(acme).id]).best_similarity < 0.3


def test_collections_are_left_to_the_rows_only_where_all_may_be_read(
    acme: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    document(acme, "Open", ["valve of the harbour"])
    document(acme, "Closed", ["valve of the castle"], collection_name="Closed")
    asked: list[IndexFilter] = []

    class Spy:
        def query(
            self, *, text: str, dense: Vector, filter: IndexFilter, limit: int, earlier: str
        ) -> list[Match]:
            asked.append(filter)
            return real.query(text=text, dense=dense, filter=filter, limit=limit, earlier=earlier)

    real = open_index(acme)
    monkeypatch.setattr(retrieval, "open_index", lambda organization: Spy())
    assert len(texts(ask(acme, "valve"))) == 2
    assert texts(ask(acme, "valve", collection_ids=[collection(acme).id])) == ["valve of the harbour"]
    assert [each.allowed for each in asked] == [None, (False, (collection(acme, "Closed").id,))]
