"""The upload page and its rows: owners and admins change, members look, strangers see nothing."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse
from reportlab.pdfgen.canvas import Canvas

from ingestion import deletion, jobs, pipeline
from search.models import Document
from tenants.models import Organization
from tenants.scope import tenant_scope
from tests.ingestion import factories
from tests.ingestion.corpus_of_acme import POLICY, Clock, job_of, upload
from tests.ingestion.ready_for_work import models, storage

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("storage")]
__all__ = ["models", "storage"]
HTMX = {"HX-Request": "true"}


def post(client: Client, name: str, *args: Any, file: bytes | None = None, **more: Any) -> Any:
    fields = {"file": SimpleUploadedFile("policy.md", file)} if file is not None else {}
    return client.post(reverse(name, args=["acme", *args]), fields, **more)


def test_an_owner_uploads_and_gets_a_row_that_asks_for_itself(
    acme: Organization, alice_client: Client
) -> None:
    response = post(alice_client, "document-upload", file=POLICY, headers=HTMX)
    assert response.status_code == 200
    with tenant_scope(acme):
        document = Document.objects.get()
    row = reverse("document-row", args=["acme", document.id])
    assert f'hx-get="{row}"' in response.content.decode()
    assert "queued" in alice_client.get(row, headers=HTMX).content.decode()


def test_a_row_stops_asking_when_nothing_will_change_any_more(
    acme: Organization, alice_client: Client
) -> None:
    document = upload(acme)
    lease = jobs.claim(clock=Clock())
    assert lease is not None
    lease.fail(code="encrypted", message="It is protected.", remedy="Remove the password.")
    body = alice_client.get(reverse("document-row", args=["acme", document.id])).content.decode()
    assert "hx-trigger" not in body
    assert "It is protected." in body
    assert "Remove the password." in body


def test_without_javascript_the_page_comes_back_with_the_document(
    acme: Organization, alice_client: Client
) -> None:
    response = post(alice_client, "document-upload", file=POLICY, follow=True)
    assert response.redirect_chain == [(reverse("documents", args=["acme"]), 302)]
    assert "policy.md" in response.content.decode()


def test_a_refused_file_says_why(acme: Organization, alice_client: Client) -> None:
    program = b"MZ\x90\x00\x03\x00\x00\x00" + b"\x90" * 300
    response = post(alice_client, "document-upload", file=program, headers=HTMX)
    assert response.status_code == 415
    assert response.json()["error"]["code"] == "unsupported"
    page = post(alice_client, "document-upload", file=program)
    assert page.status_code == 415
    assert "cannot be read" in page.content.decode()


def test_a_member_sees_the_list_and_changes_nothing(acme: Organization, bob_client: Client) -> None:
    document = upload(acme)
    page = bob_client.get(reverse("documents", args=["acme"]))
    assert "policy.md" in page.content.decode()
    assert "data-upload" not in page.content.decode()
    answers = [
        post(bob_client, "document-upload", file=b"mine"),
        post(bob_client, "document-replace", document.id, file=b"mine"),
        post(bob_client, "document-delete", document.id),
        post(bob_client, "document-retry", document.id),
    ]
    assert [a.status_code for a in answers] == [403] * 4
    with tenant_scope(acme):
        assert Document.objects.count() == 1


def test_delete_retry_and_replace_work_for_an_owner(acme: Organization, alice_client: Client) -> None:
    document = upload(acme)
    lease = jobs.claim(clock=Clock())
    assert lease is not None
    lease.fail(code="encrypted", message="Protected.", remedy="Remove the password.")
    assert post(alice_client, "document-retry", document.id, headers=HTMX).status_code == 200
    assert job_of(acme, document).status == "queued"
    assert post(alice_client, "document-replace", document.id, file=b"new", headers=HTMX).status_code == 200
    assert post(alice_client, "document-delete", document.id, headers=HTMX).content == b""
    with tenant_scope(acme):
        assert not Document.objects.exists()


def test_the_file_comes_back_as_an_attachment_that_cannot_run(
    acme: Organization, bob_client: Client, models: Any
) -> None:
    document = upload(
        acme, 'a"b\u202e;.html', b"<html><body><p>Hello</p><script>alert(1)</script></body></html>"
    )
    pipeline.work_until_idle()
    response: Any = bob_client.get(reverse("document-file", args=["acme", document.id]))
    assert response.status_code == 200
    assert b"".join(response.streaming_content).startswith(b"<html>")
    assert response["Content-Type"] == "application/octet-stream"
    assert response["Content-Disposition"].startswith("attachment")
    assert "\u202e" not in response["Content-Disposition"]
    assert response["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in response["Content-Security-Policy"]


def test_the_document_page_marks_the_passage(acme: Organization, bob_client: Client, models: Any) -> None:
    document = upload(acme, "x.txt", b"One two three <four> five")
    pipeline.work_until_idle()
    where = reverse("document", args=["acme", document.id])
    response = bob_client.get(where, {"page": 1, "start": 4, "end": 7})
    assert response.context["pieces"] == (("One ", False), ("two", True), (" three <four> five", False))
    assert response.context["quote"] == "two"
    assert "&lt;four&gt;" in response.content.decode()
    assert bob_client.get(where, {"page": 2}).status_code == 404
    assert bob_client.get(where, {"page": "1;drop"}).status_code == 404
    assert bob_client.get(where, {"start": 900, "end": 5}).context["quote"] == ""


def test_a_document_without_pages_names_the_section_of_a_passage(
    acme: Organization, bob_client: Client, models: Any
) -> None:
    page = b"<!doctype html><title>Handbook</title><h1>Hotels</h1><p>Book early.</p>"
    document = upload(acme, "x.html", page)
    pipeline.work_until_idle()
    where = reverse("document", args=["acme", document.id])
    response = bob_client.get(where, {"page": 1, "start": 8, "end": 12})
    assert response.context["place"] == "Hotels"
    content = response.content.decode()
    assert "page 1" not in content.lower()
    assert "Handbook, Hotels" in content.partition("</title>")[0]


def test_slides_are_called_slides(acme: Organization, bob_client: Client, models: Any) -> None:
    document = upload(acme, "deck.pptx", factories.make_pptx())
    pipeline.work_until_idle()
    where = reverse("document", args=["acme", document.id])
    content = bob_client.get(where, {"page": 2}).content.decode()
    assert "Slide 2 of 2" in content
    assert 'aria-label="Previous slide"' in content
    assert "2 slides" in content


def test_a_passage_of_a_replaced_version_is_not_marked_in_the_new_one(
    acme: Organization, alice_client: Client, models: Any
) -> None:
    document = upload(acme, "x.txt", b"The fee is 20 euros.")
    pipeline.work_until_idle()
    where = reverse("document", args=["acme", document.id])
    with tenant_scope(acme):
        cited = Document.objects.get(id=document.id).published_id
    place: dict[str, Any] = {"page": 1, "start": 11, "end": 13, "version": str(cited)}
    assert alice_client.get(where, place).context["quote"] == "20"
    post(alice_client, "document-replace", document.id, file=b"The fee was lowered by us.", headers=HTMX)
    pipeline.work_until_idle()
    response = alice_client.get(where, place)
    assert response.context["quote"] == ""
    assert "earlier version" in response.content.decode()
    assert alice_client.get(where, {**place, "page": 7}).status_code == 200
    assert alice_client.get(where, {**place, "version": "x"}).status_code == 404


def test_what_is_not_published_has_no_page_and_no_file(acme: Organization, bob_client: Client) -> None:
    document = upload(acme)
    for name, more in (("document", ()), ("document-file", ()), ("page-image", (1,))):
        assert bob_client.get(reverse(name, args=["acme", document.id, *more])).status_code == 404


def test_a_stranger_gets_nothing(acme: Organization, charlie_client: Client, charlie: User) -> None:
    document = upload(acme)
    assert charlie_client.get(reverse("documents", args=["acme"])).status_code == 404
    theirs = reverse("document-row", args=["globex", document.id])
    assert charlie_client.get(theirs).status_code == 404
    assert charlie_client.post(reverse("document-delete", args=["globex", document.id])).status_code == 404
    with tenant_scope(acme):
        assert Document.objects.count() == 1


def test_a_pdf_is_shown_as_a_picture_with_the_passage_in_boxes(
    acme: Organization, bob_client: Client, models: Any, storage: Path
) -> None:
    buffer = io.BytesIO()
    page = Canvas(buffer, pagesize=(400, 300))
    page.drawString(50, 200, "The canary is called Esmeralda.")
    page.save()
    document = upload(acme, "canary.pdf", buffer.getvalue())
    pipeline.work_until_idle()
    where = reverse("document", args=["acme", document.id])
    text = bob_client.get(where).context["pieces"][0][0]
    start = text.index("Esmeralda")
    context = bob_client.get(where, {"start": start, "end": start + 9}).context
    (box,) = context["rectangles"]
    assert context["has_image"]
    assert context["aligned"]
    assert (context["page_width"], context["page_height"]) == (400, 300)
    assert 130 < box["x"] < 220
    assert 85 < box["y"] < 105
    picture = bob_client.get(reverse("page-image", args=["acme", document.id, 1]))
    assert picture.content.startswith(b"\x89PNG")
    assert picture["Content-Type"] == "image/png"
    kept = list((storage / "pages").rglob("1.png"))
    assert len(kept) == 1
    assert bob_client.get(reverse("page-image", args=["acme", document.id, 2])).status_code == 404
    assert deletion.delete_document(organization=acme, document_id=document.id)
    assert not list((storage / "pages").rglob("*.png"))


def test_the_row_of_a_document_that_was_deleted_elsewhere_asks_no_more(
    acme: Organization, bob_client: Client
) -> None:
    document = upload(acme)
    address = reverse("document-row", args=["acme", document.id])
    deletion.delete_document(organization=acme, document_id=document.id)
    assert bob_client.get(address).status_code == 404
    swapped = bob_client.get(address, headers={"HX-Request": "true"})
    assert (swapped.status_code, swapped.content) == (200, b"")
