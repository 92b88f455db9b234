"""Requests that no client of ours sends: each is refused in the shape of every error, and none breaks an answer."""

from __future__ import annotations

import base64
from collections.abc import Callable

import pytest
from django.test import Client

from tenants.models import Organization

pytestmark = pytest.mark.django_db
LISTS = ["/api/v1/documents", "/api/v1/conversations"]


@pytest.fixture
def client(acme: Organization, api: Callable[..., Client]) -> Client:
    return api(acme, "read", "write")


@pytest.mark.parametrize("version", ["\x00", 'x"; a="', "2", "1"])
def test_a_version_of_the_description_is_ours_or_none(version: str, client: Client) -> None:
    """The description names itself in a header, and a server cannot send a header with just any character."""
    response = client.get("/api/schema/", {"version": version})
    assert response.status_code == 200
    assert response["Content-Disposition"] in (
        'inline; filename="Tessera API.yaml"',
        'inline; filename="Tessera API (1).yaml"',
    )


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize("place", ["p=not-a-day", "p=\x00", "p=2024-13-01", "o=x", "o=-1", "r=1&p=x", None])
def test_a_cursor_that_no_page_gave_is_said_to_be_wrong(path: str, place: str | None, client: Client) -> None:
    cursor = "\U0001f600" if place is None else base64.b64encode(place.encode()).decode()
    response = client.get(path, {"cursor": cursor})
    assert response.status_code == 400
    error = response.json()["error"]
    assert (error["code"], list(error["detail"])) == ("invalid", ["cursor"])


@pytest.mark.parametrize(
    ("method", "path", "headers", "status", "code"),
    [
        ("PUT", "/api/v1/documents", {}, 405, "method_not_allowed"),
        ("HEAD", "/api/v1/search", {}, 405, ""),
        ("GET", "/api/v1/documents", {"Accept": "text/html"}, 406, "not_acceptable"),
        ("GET", "/api/v1/answers/1", {}, 404, "not_found"),
        ("GET", "/api/v1/documents/", {}, 404, "not_found"),
        ("POST", "/api/v1/search", {"Content-Type": "text/plain"}, 415, "unsupported_media_type"),
        ("POST", "/api/v1/documents", {"Content-Type": "application/json"}, 415, "unsupported_media_type"),
        ("POST", "/api/v1/documents", {"Content-Type": "multipart/form-data"}, 400, "parse_error"),
        ("POST", "/api/v1/search", {"Content-Type": "application/json"}, 400, "parse_error"),
        ("GET", "/api/v1/documents", {"Host": "elsewhere.example"}, 400, "invalid"),
    ],
)
def test_it_has_its_true_status_and_the_one_shape(
    method: str, path: str, headers: dict[str, str], status: int, code: str, client: Client
) -> None:
    kind = headers.get("Content-Type", "application/octet-stream")
    others = {name: value for name, value in headers.items() if name != "Content-Type"}
    response = client.generic(method, path, b"{", kind, headers=others)
    assert response.status_code == status
    assert response["Content-Type"] == "application/json"
    if method != "HEAD":
        error = response.json()["error"]
        assert set(error) == {"code", "message", "detail", "request_id"}
        assert (error["code"], error["request_id"]) == (code, response["X-Request-ID"])
