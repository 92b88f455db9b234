"""Whatever is refused on the web answers with a page of the product, under its true status."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

pytestmark = pytest.mark.django_db


def refused(response: Any, status: int, words: str) -> None:
    page = response.content.decode()
    assert response.status_code == status
    assert words in page
    assert "app.css" in page


def test_an_unknown_page() -> None:
    refused(Client().get("/nothing"), 404, "There is nothing here")


def test_a_request_that_cannot_be_read(alice_client: Client) -> None:
    too_many = "&".join(f"type={number}" for number in range(1100))
    refused(alice_client.get(f"/o/acme/?{too_many}"), 400, "This cannot be read")
    refused(
        Client().get("/accounts/login/", headers={"Host": "elsewhere.example"}), 400, "This cannot be read"
    )


def test_a_form_without_its_token(alice_client: Client) -> None:
    client = Client(enforce_csrf_checks=True)
    client.cookies = alice_client.cookies
    refused(client.post("/o/acme/ask", {"question": "What?"}), 403, "This form has expired")


def test_something_that_the_role_does_not_allow(bob_client: Client) -> None:
    refused(bob_client.post("/o/acme/settings/members/add/"), 403, "You may not do this")


def test_too_many_attempts() -> None:
    client = Client()
    answers = [client.post("/accounts/login/", {"login": str(n), "password": "x"}) for n in range(31)]
    refused(answers[-1], 429, "Too many attempts")


@pytest.mark.parametrize(
    "path", ["/", "/o/acme/", "/o/acme/settings/", "/o/acme/documents/", "/o/acme/conversations/"]
)
def test_a_page_that_can_be_read_can_be_asked_for_by_its_head(path: str, alice_client: Client) -> None:
    shown, asked = alice_client.get(path), alice_client.head(path)
    assert asked.status_code == shown.status_code
    assert asked.content == b""
