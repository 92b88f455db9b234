"""On a Qdrant server an index is made anew as a collection of its own, and one row says which one counts.

The server is qdrant-client's local mode, which obeys the same calls.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from qdrant_client import QdrantClient

from search import corpus, maintenance, reindex
from search.index import close_all, open_index, opening
from search.index.errors import IndexLocked
from search.index.opening import build_index, drop_index, keys_present
from search.models import DocumentVersion, MaintenanceJob, ServedCollection
from tenants.models import Organization
from tenants.scope import tenant_scope
from tests.search.corpus_rows import document

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.filterwarnings("ignore:Payload indexes have no effect in the local Qdrant"),
]


@pytest.fixture(autouse=True)
def server(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[QdrantClient]:
    client = QdrantClient(":memory:")
    monkeypatch.setattr(settings.ENV, "qdrant_url", "http://qdrant.example:6333")
    monkeypatch.setattr("search.index.opening.connect", lambda *args: client)
    yield client
    close_all()


def collections(server: QdrantClient) -> list[str]:
    return sorted(collection.name for collection in server.get_collections().collections)


def test_the_new_collection_takes_the_place_of_the_old_one(
    acme: Organization, globex: Organization, server: QdrantClient
) -> None:
    document(acme, "A", ["impeller one", "impeller two"])
    document(globex, "B", ["canary"])
    before = collections(server)
    assert before == [f"tessera_{acme.pk}", f"tessera_{globex.pk}"]
    for _ in range(2):
        assert reindex.reindex(acme) == 2
        name = ServedCollection.objects.get().name
        assert collections(server) == sorted([f"tessera_{name}", f"tessera_{globex.pk}"])
    assert reindex.audit(acme).clean
    assert open_index(acme).state().average_length == pytest.approx(4, abs=0.5)
    assert keys_present() == {acme.pk, globex.pk}


def test_a_build_that_fails_leaves_the_old_one(acme: Organization, server: QdrantClient) -> None:
    document(acme, "A", ["impeller one"])

    def build() -> None:
        with build_index(acme, average_length=50.0):
            assert len(collections(server)) == 2
            raise OSError("the server went away")

    with pytest.raises(OSError, match="away"):
        build()
    assert collections(server) == [f"tessera_{acme.pk}"]
    assert open_index(acme).count() == 1


def test_what_was_dropped_leaves_no_collection_and_no_row(
    acme: Organization, globex: Organization, server: QdrantClient
) -> None:
    document(acme, "A", ["impeller one"])
    document(globex, "B", ["canary"])
    reindex.reindex(acme)
    drop_index(acme)
    assert collections(server) == [f"tessera_{globex.pk}"]
    assert not ServedCollection.objects.exists()


def test_what_is_written_to_the_old_collection_after_it_was_read_is_written_again(
    acme: Organization, server: QdrantClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    document(acme, "A", ["impeller one"])
    draft = document(acme, "Draft", ["impeller two"], publish=False)
    with tenant_scope(acme):
        version = DocumentVersion.objects.get(document=draft)
    corpus.unindex_version(acme, version.id)
    read, waits = corpus.batches_of_points, [True]

    def while_an_index_is_made_anew(*args: Any, **named: Any) -> Any:
        if waits and waits.pop():
            with monkeypatch.context() as slow:
                slow.setattr(opening, "_remove_from_server", lambda key, *, but: None)
                reindex.reindex(acme)
        yield from read(*args, **named)

    monkeypatch.setattr(corpus, "batches_of_points", while_an_index_is_made_anew)
    assert corpus.index_version(acme, version.id) == 1
    assert len(reindex.audit(acme).unpublished) == 1


def test_two_do_not_make_one_index_anew_at_once(
    acme: Organization, globex: Organization, server: QdrantClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    document(acme, "A", ["impeller one"])
    document(globex, "B", ["canary"])
    plain = reindex._catch_up

    def meanwhile(*args: Any, **named: Any) -> None:
        monkeypatch.setattr(reindex, "_catch_up", plain)
        with pytest.raises(IndexLocked, match="acme"):
            reindex.reindex(acme)
        assert reindex.reindex(globex) == 1
        plain(*args, **named)

    monkeypatch.setattr(reindex, "_catch_up", meanwhile)
    assert reindex.reindex(acme) == 1
    assert reindex.audit(acme).clean
    assert not MaintenanceJob.objects.exists()


def test_one_that_was_killed_is_waited_for_half_a_minute_only(
    acme: Organization, server: QdrantClient
) -> None:
    document(acme, "A", ["impeller one"])
    killed = MaintenanceJob.objects.create(
        act=maintenance.BUILDING,
        arguments={"organization": "acme"},
        status=MaintenanceJob.Status.RUNNING,
        token=uuid.uuid4(),
        heartbeat_at=timezone.now(),
    )
    with pytest.raises(IndexLocked):
        reindex.reindex(acme)
    MaintenanceJob.objects.filter(id=killed.id).update(heartbeat_at=timezone.now() - timedelta(seconds=31))
    assert reindex.reindex(acme) == 1


def test_a_collection_of_an_earlier_version_is_known(
    acme: Organization, server: QdrantClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    document(acme, "A", ["impeller one"])
    assert opening.keys_with_less() == set()
    monkeypatch.setattr(opening, "PAYLOAD", 99)
    assert opening.keys_with_less() == {acme.pk}
