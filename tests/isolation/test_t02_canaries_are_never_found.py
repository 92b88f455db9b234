"""T02: nothing of acme is in what charlie finds, in any mode and under any filter; alice finds it at once.

T04: ids of acme inside a request of charlie are no ids. T05: neither are its addresses of files and streams.
"""

from __future__ import annotations

import json
import uuid
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from search import corpus
from search.models import Chunk, Conversation, Document, DocumentVersion, Turn
from tenants.scope import system_scope, tenant_scope
from tests.ingestion.factories import make_pdf
from tests.isolation.test_t01_every_route import content
from tests.isolation.world import World

pytestmark = pytest.mark.django_db


@pytest.fixture
def indexed(acme_world: World, globex_world: World, installed_embedder: Any) -> None:
    """Both canary documents in the index, by the real embedder."""
    for world in (acme_world, globex_world):
        vector = installed_embedder.embed_passages([world.chunk.text])[0]
        with tenant_scope(world.organization):
            Chunk.objects.filter(pk=world.chunk.pk).update(embedding=np.asarray(vector, "<f2").tobytes())
        assert corpus.index_version(world.organization, world.version.pk) == 1


def post(client: Client, path: str, body: dict[str, Any]) -> Any:
    return client.post(path, json.dumps(body), content_type="application/json")


def traces(world: World) -> tuple[str, ...]:
    own = ("document", "conversation", "turn")
    return (world.canary, world.chunk.text, str(world.chunk.pk), *(world.ids[kind] for kind in own))


def test_a_search_over_the_api_finds_the_own_canary_only(
    indexed: None, acme_world: World, globex_world: World
) -> None:
    for world, other in ((acme_world, globex_world), (globex_world, acme_world)):
        client = Client(headers={"Authorization": f"Bearer {world.key_text}"})
        for query in (acme_world.canary, acme_world.chunk.text, "secret of this organisation"):
            response = post(client, "/api/v1/search", {"query": query, "limit": 50})
            found = [hit["document"]["id"] for hit in response.json()["results"]]
            assert found == [world.ids["document"]]
            assert not any(
                trace in response.content.decode() for trace in traces(other) if trace not in query
            )


@pytest.mark.parametrize("filters", ["document_ids", "collection_ids", "documents", "collections"])
def test_a_filter_that_names_what_is_acmes_finds_nothing(
    filters: str, indexed: None, acme_world: World, globex_world: World
) -> None:
    client = Client(headers={"Authorization": f"Bearer {globex_world.key_text}"})
    named = [acme_world.ids["document"], str(acme_world.document.collection_id)]
    response = post(client, "/api/v1/search", {"query": "secret", "filters": {filters: named}})
    assert response.status_code in (200, 400)
    assert acme_world.canary not in response.content.decode()
    if response.status_code == 200:
        assert acme_world.ids["document"] not in [hit["document"]["id"] for hit in response.json()["results"]]


def test_the_search_page_shows_the_own_canary_only(
    indexed: None, acme_world: World, globex_world: World, charlie_client: Client, alice_client: Client
) -> None:
    collection = str(acme_world.document.collection_id)
    for extra in ({}, {"collection": collection}, {"type": "text/plain"}, {"turn": acme_world.ids["turn"]}):
        query = urlencode({"q": "secret of this organisation", **extra})
        page = content(charlie_client.get(f"/o/globex/?{query}"))
        assert acme_world.canary not in page
        assert acme_world.ids["document"] not in page
    assert acme_world.ids["document"] in content(alice_client.get("/o/acme/?q=secret+of+this+organisation"))


def test_a_conversation_of_others_cannot_be_continued(
    indexed: None, acme_world: World, globex_world: World, charlie_client: Client
) -> None:
    theirs = acme_world.ids["conversation"]
    key = Client(headers={"Authorization": f"Bearer {globex_world.key_text}"})
    over_api = post(key, "/api/v1/answers", {"question": "And then?", "conversation_id": theirs})
    on_page = charlie_client.post("/o/globex/ask", {"question": "And then?", "conversation": theirs})
    for response in (over_api, on_page):
        assert response.status_code == 404
        assert acme_world.canary not in content(response)
    with tenant_scope(acme_world.organization):
        assert Turn.objects.count() == 1
    with tenant_scope(globex_world.organization):
        assert Turn.objects.exclude(pk=globex_world.turn.pk).count() == 0


def test_a_conversation_is_its_persons_own(acme_world: World, bob_client: Client) -> None:
    for path in (
        f"/o/acme/conversations/{acme_world.ids['conversation']}/",
        f"/o/acme/turns/{acme_world.ids['turn']}",
        f"/o/acme/turns/{acme_world.ids['turn']}/events",
        f"/api/v1/conversations/{acme_world.ids['conversation']}",
        f"/api/v1/answers/{acme_world.ids['turn']}",
    ):
        response = bob_client.get(path)
        assert response.status_code == 404, path
        assert acme_world.canary not in content(response)
    with tenant_scope(acme_world.organization):
        assert Conversation.objects.filter(pk=acme_world.conversation.pk).exists()


def test_copied_addresses_of_files_and_streams_open_for_nobody_else(
    acme_world: World, alice_client: Client, charlie_client: Client
) -> None:
    document, turn = acme_world.ids["document"], acme_world.ids["turn"]
    for path in (
        f"/o/acme/documents/{document}/file",
        f"/o/acme/documents/{document}/",
        f"/o/acme/turns/{turn}/events",
    ):
        opened = alice_client.get(path)
        assert opened.status_code == 200
        assert path.endswith("events") or acme_world.canary in content(opened)
        assert charlie_client.get(path).status_code == 404
        nobody = Client().get(path, headers={"Accept": "text/event-stream"})
        assert nobody.status_code == 404
        assert Client().get(path).status_code == 302


def test_a_picture_of_a_page_opens_for_nobody_else(
    acme_world: World, alice_client: Client, charlie_client: Client
) -> None:
    file = default_storage.save("a.pdf", ContentFile(make_pdf([acme_world.canary])))
    with tenant_scope(acme_world.organization):
        DocumentVersion.objects.update(file=file, media_type="application/pdf")
    own, under_globex = (
        f"/o/{slug}/documents/{acme_world.ids['document']}/pages/1.png" for slug in ("acme", "globex")
    )
    for _ in range(2):  # drawn for alice, then kept
        assert charlie_client.get(own).status_code == charlie_client.get(under_globex).status_code == 404
        assert Client().get(own).status_code == 302
        drawn = alice_client.get(own)
        assert (drawn.status_code, drawn["Content-Type"]) == (200, "image/png")
        assert "private" in drawn["Cache-Control"]


def test_a_collection_of_others_takes_no_upload(acme_world: World, globex_world: World) -> None:
    client = Client(headers={"Authorization": f"Bearer {globex_world.key_text}"})
    answers = []
    for collection in (acme_world.document.collection_id, uuid.uuid4()):
        file = SimpleUploadedFile("a.txt", b"A text of globex.")
        sent = client.post("/api/v1/documents", {"file": file, "collection": str(collection)})
        answers.append((sent.status_code, sent.json()["error"]["code"], sent.json()["error"]["message"]))
    assert answers[0] == answers[1] == (400, "unknown_collection", "There is no such collection.")
    with system_scope("a test looks at both organisations"):
        assert Document.objects.count() == 2


def test_an_idempotency_key_and_an_external_id_mean_the_own_documents(
    acme_world: World, globex_world: World
) -> None:
    """The same names in two organisations, with the same file: each gets a document of its own."""
    made = {}
    for world in (acme_world, globex_world):
        client = Client(headers={"Authorization": f"Bearer {world.key_text}", "Idempotency-Key": "one"})
        file = SimpleUploadedFile("a.txt", b"The same text for both.")
        sent = client.post("/api/v1/documents", {"file": file, "external_id": "wiki/1"})
        assert sent.status_code == 202
        made[world.organization] = sent.json()["id"]
    for organization, document in made.items():
        with tenant_scope(organization):
            assert str(Document.objects.get(external_id="wiki/1").pk) == document


def test_stored_files_have_no_address_of_their_own(acme_world: World, alice_client: Client) -> None:
    for path in (f"/media/{acme_world.version.file}", f"/files/{acme_world.version.file}"):
        assert alice_client.get(path).status_code == 404
