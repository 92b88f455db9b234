"""The page of documents shows all of them in pages, narrowed by state and by words of the title."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from ingestion import jobs
from ingestion.progress import ROWS_PER_PAGE
from tenants.models import Organization
from tests.ingestion.corpus_of_acme import Clock, job_of, upload
from tests.ingestion.long_queues import queue_files
from tests.ingestion.ready_for_work import storage

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("storage")]
__all__ = ["storage"]


def titles(response: Any) -> list[str]:
    return [row.title for row in response.context["rows"]]


def test_every_document_is_on_one_of_the_pages(
    acme: Organization, globex: Organization, bob_client: Client
) -> None:
    queue_files(acme, 2 * ROWS_PER_PAGE + 5)
    queue_files(globex, 3)
    where = reverse("documents", args=["acme"])
    first = bob_client.get(where)
    assert 'rel="next"' in first.content.decode()
    assert 'rel="prev"' not in first.content.decode()
    seen = [title for page in (1, 2, 3) for title in titles(bob_client.get(where, {"page": page}))]
    assert len(seen) == len(set(seen)) == 2 * ROWS_PER_PAGE + 5
    last = bob_client.get(where, {"page": 999})
    assert len(titles(last)) == 5
    assert bob_client.get(where, {"page": "one"}).status_code == 404


def test_it_is_narrowed_by_state_and_title_and_the_pages_keep_it(
    acme: Organization, bob_client: Client
) -> None:
    queue_files(acme, ROWS_PER_PAGE + 1)
    upload(acme, "Travel & <rules>.md")
    where = reverse("documents", args=["acme"])
    found = bob_client.get(where, {"q": "travel & <", "status": "queued"})
    assert titles(found) == ["Travel & <rules>.md"]
    assert titles(bob_client.get(where, {"q": "travel", "status": "ready"})) == []
    assert "Nothing found" in bob_client.get(where, {"q": "nothing"}).content.decode()
    narrowed = bob_client.get(where, {"q": ".txt", "status": "queued"}).content.decode()
    assert 'href="?q=.txt&amp;status=queued&amp;page=2"' in narrowed
    assert bob_client.get(where, {"status": "nonsense"}).status_code == 200


def test_what_waits_can_be_stopped_on_the_page(
    acme: Organization, alice_client: Client, bob_client: Client
) -> None:
    document = upload(acme)
    stop = reverse("document-cancel", args=["acme", document.id])
    assert stop in alice_client.get(reverse("documents", args=["acme"])).content.decode()
    assert bob_client.post(stop).status_code == 403
    assert job_of(acme, document).status == "queued"
    body = alice_client.post(stop, headers={"HX-Request": "true"}).content.decode()
    assert "was cancelled" in body
    assert "hx-trigger" not in body
    assert jobs.claim(clock=Clock()) is None
    assert alice_client.post(stop).status_code == 302, "nothing to stop any more"


def test_a_zero_byte_in_a_search_finds_what_the_rest_finds(
    acme: Organization, bob_client: Client, api: Callable[..., Client]
) -> None:
    upload(acme, "Travel.md")
    assert titles(bob_client.get(reverse("documents", args=["acme"]), {"q": "tra\x00vel"})) == ["Travel.md"]
    found = api(acme, "read").get("/api/v1/documents", {"external_id": "\x00"})
    assert (found.status_code, found.json()["results"]) == (200, [])
