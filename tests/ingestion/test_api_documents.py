"""Documents over the API: upload, state, list, delete, retry; whole bodies."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from ingestion import jobs
from search.models import Document
from tenants.models import Organization
from tests.ingestion.corpus_of_acme import POLICY, Clock, job_of, set_job, upload
from tests.ingestion.ready_for_work import models, storage

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("storage")]
__all__ = ["models", "storage"]

Api = Callable[..., Client]


def send(
    client: Client, content: bytes = POLICY, name: str = "policy.md", headers: Any = None, **more: Any
) -> Any:
    fields = {"file": SimpleUploadedFile(name, content), **more}
    return client.post("/api/v1/documents", fields, headers=headers or {})


def test_an_upload_is_accepted_and_says_where_to_ask(acme: Organization, api: Api) -> None:
    client = api(acme, "read", "write")
    response = send(client)
    assert response.status_code == 202, response.content
    body = response.json()
    assert response["Location"] == f"/api/v1/documents/{body['id']}"
    again = client.get(response["Location"])
    assert again.status_code == 200
    assert again.json() == body
    assert isinstance(body.pop("id"), str)
    assert isinstance(body.pop("created_at"), str)
    assert body == {
        "title": "policy.md",
        "filename": "policy.md",
        "media_type": "",
        "collection": "General",
        "status": "queued",
        "stage": "queued",
        "progress": {"done": 0, "total": 0},
        "error": None,
        "author": "",
        "dated": None,
        "language": "",
        "page_count": 0,
        "pages_without_text": [],
        "pages_by_ocr": [],
        "pages_with_hidden_text": [],
        "external_id": "",
        "rate": None,
        "eta_seconds": None,
    }


def test_a_failure_has_code_message_and_remedy_and_can_be_retried(acme: Organization, api: Api) -> None:
    document = upload(acme)
    lease = jobs.claim(clock=Clock())
    assert lease is not None
    lease.fail(code="encrypted", message="Protected.", remedy="Remove the password.")
    client = api(acme, "read", "write")
    body = client.get(f"/api/v1/documents/{document.id}").json()
    assert body["status"] == "failed"
    assert body["error"] == {"code": "encrypted", "message": "Protected.", "remedy": "Remove the password."}
    retried = client.post(f"/api/v1/documents/{document.id}/retry")
    assert retried.status_code == 202
    assert retried.json()["status"] == "queued"
    assert job_of(acme, document).attempts == 0


def test_the_list_is_newest_first_in_pages_and_can_be_narrowed_to_a_status(
    acme: Organization, api: Api
) -> None:
    for number in range(5):
        upload(acme, f"{number}.txt", f"file {number}".encode())
    lease = jobs.claim()
    assert lease is not None
    client = api(acme)
    first = client.get("/api/v1/documents?page_size=3").json()
    assert [d["title"] for d in first["results"]] == ["4.txt", "3.txt", "2.txt"]
    rest = client.get(first["next"]).json()
    assert [d["title"] for d in rest["results"]] == ["1.txt", "0.txt"]
    working = client.get("/api/v1/documents?status=processing").json()
    assert [d["id"] for d in working["results"]] == [str(lease.document_id)]
    assert client.get("/api/v1/documents?status=nonsense").status_code == 400


def test_a_deleted_document_is_gone(acme: Organization, api: Api) -> None:
    client = api(acme, "read", "write")
    where = send(client)["Location"]
    assert client.delete(where).status_code == 204
    assert client.get(where).status_code == 404
    assert client.delete(where).status_code == 404


def test_another_organisations_document_is_not_there(
    acme: Organization, globex: Organization, api: Api
) -> None:
    document = upload(acme)
    client = api(globex, "read", "write")
    where = f"/api/v1/documents/{document.id}"
    answers = [client.get(where), client.delete(where), client.post(f"{where}/retry")]
    answers.append(client.get(f"/api/v1/documents/{uuid4()}"))
    assert [a.status_code for a in answers] == [404, 404, 404, 404]
    assert client.get("/api/v1/documents").json()["results"] == []
    assert job_of(acme, document).status == "queued"


def test_a_key_that_may_only_read_cannot_upload_or_delete(acme: Organization, api: Api) -> None:
    document = upload(acme)
    client = api(acme, "read")
    assert send(client).status_code == 403
    assert client.delete(f"/api/v1/documents/{document.id}").status_code == 403
    assert client.post(f"/api/v1/documents/{document.id}/retry").status_code == 403


def test_an_idempotency_key_makes_a_repeated_request_harmless(acme: Organization, api: Api) -> None:
    client = api(acme, "read", "write")
    key = {"Idempotency-Key": "upload-1"}
    first, second = send(client, headers=key), send(client, headers=key)
    assert first.json()["id"] == second.json()["id"]
    other = send(client, b"other content", headers=key)
    assert other.status_code == 409
    assert other.json()["error"]["code"] == "idempotency_key_reused"


def test_a_known_external_id_replaces(acme: Organization, api: Api) -> None:
    client = api(acme, "read", "write")
    first = send(client, b"one", external_id="wiki/1").json()
    second = send(client, b"two", external_id="wiki/1", title="The wiki").json()
    assert first["id"] == second["id"]
    assert second["title"] == "The wiki"


def test_a_document_is_found_by_its_external_id_and_by_words_of_its_title(
    acme: Organization, globex: Organization, api: Api
) -> None:
    client = api(acme, "read", "write")
    ours = send(client, b"one", external_id="wiki/1", title="Travel rules").json()
    send(client, b"two", external_id="wiki/2", title="Leave")
    send(api(globex, "read", "write"), b"three", external_id="wiki/1", title="Travel of globex")
    for asked in ("external_id=wiki/1", "q=TRAVEL", "q=travel&external_id=wiki/1&status=queued"):
        found = client.get(f"/api/v1/documents?{asked}").json()["results"]
        assert [each["id"] for each in found] == [ours["id"]], asked
    assert client.get("/api/v1/documents?external_id=wiki/3").json()["results"] == []


def test_what_waits_or_is_read_can_be_cancelled(acme: Organization, globex: Organization, api: Api) -> None:
    client = api(acme, "read", "write")
    waiting = send(client, b"waiting").json()["id"]
    reading = send(client, b"reading").json()["id"]
    set_job(acme, Document(id=reading), created_at=Clock().now - timedelta(days=9999))
    lease = jobs.claim(clock=Clock())
    assert lease is not None
    assert str(lease.document_id) == reading
    for id_ in (waiting, reading):
        where = f"/api/v1/documents/{id_}/cancel"
        assert api(globex, "read", "write").post(where).status_code == 404
        assert api(acme, "read").post(where).status_code == 403
        answer = client.post(where)
        assert answer.status_code == 200
        assert (answer.json()["status"], answer.json()["error"]["code"]) == ("failed", "cancelled")
    with pytest.raises(jobs.LeaseLost):
        lease.renew(stage="parsing")
    assert jobs.claim(clock=Clock()) is None
    assert client.post(f"/api/v1/documents/{waiting}/retry").json()["status"] == "queued"


def test_too_large_is_413_by_the_announced_size_alone(acme: Organization, api: Api, settings: Any) -> None:
    settings.ENV = settings.ENV.model_copy(update={"max_upload_mb": 1})
    response = send(api(acme, "write"), b"x" * 1_200_000)
    assert response.status_code == 413
    assert response.json()["error"]["code"] == "too_large"


def test_a_format_that_is_not_read_is_415(acme: Organization, api: Api) -> None:
    response = send(api(acme, "write"), b"MZ" + b"\x90" * 300, "report.pdf")
    assert response.status_code == 415
    assert response.json()["error"]["code"] == "unsupported"


def test_an_upload_without_a_file_or_with_an_unknown_collection_is_400(acme: Organization, api: Api) -> None:
    client = api(acme, "write")
    assert client.post("/api/v1/documents", {"title": "x"}).status_code == 400
    response = send(client, collection=str(uuid4()))
    assert response.status_code == 400
    assert response.json()["error"]["code"] == "unknown_collection"
