"""Every error of the API has one shape, under its true status."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.exceptions import PermissionDenied
from django.http import Http404
from django.test import Client, RequestFactory
from rest_framework.exceptions import Throttled, ValidationError

from config import api, views
from inference.errors import (
    DeadlineExceeded,
    EngineStopped,
    InvalidRequest,
    NotReady,
    Overloaded,
    PromptTooLong,
)
from tenants.errors import NotAllowed


def handled(error: Exception) -> Any:
    request = RequestFactory().get("/api/v1/x")
    request.request_id = "0123456789"  # type: ignore[attr-defined]
    return api.exception_handler(error, {"request": request})


@pytest.mark.parametrize(
    ("error", "status", "code", "retry_after"),
    [
        (Overloaded("full", retry_after_s=7), 503, "overloaded", "7"),
        (NotReady("loading"), 503, "not_ready", "5"),
        (EngineStopped("stopped"), 503, "engine_stopped", "5"),
        (DeadlineExceeded("late"), 504, "deadline_exceeded", None),
        (PromptTooLong("long"), 400, "prompt_too_long", None),
        (InvalidRequest("wrong"), 400, "invalid_request", None),
        (Http404("secret path"), 404, "not_found", None),
        (PermissionDenied("secret"), 403, "permission_denied", None),
        (NotAllowed("Your role does not allow it."), 403, "permission_denied", None),
        (ValidationError({"query": ["needed"]}), 400, "invalid", None),
        (Throttled(wait=3), 429, "throttled", "3"),
        (api.ApiError("spent", "Spent.", status=429, retry_after_s=9), 429, "spent", "9"),
        (RuntimeError("secret of the server"), 500, "server_error", None),
    ],
)
@pytest.mark.django_db
def test_an_error_becomes_its_status_and_code(
    error: Exception, status: int, code: str, retry_after: str | None
) -> None:
    response = handled(error)
    assert response.status_code == status
    assert set(response.data) == {"error"}
    assert set(response.data["error"]) == {"code", "message", "detail", "request_id"}
    assert response.data["error"]["code"] == code
    assert response.data["error"]["request_id"] == "0123456789"
    assert response.get("Retry-After") == retry_after
    assert "secret" not in str(response.data)


def test_an_unknown_route_of_the_api_is_json_and_of_the_pages_is_a_page(db: None, client: Client) -> None:
    response = client.get("/api/v1/nothing")
    assert response.status_code == 404
    assert response.json()["error"]["code"] == "not_found"
    assert response.json()["error"]["request_id"] == response["X-Request-ID"]
    assert client.get("/nothing")["Content-Type"].startswith("text/html")


def test_a_failure_of_the_server_says_nothing_but_its_request(db: None) -> None:
    request = RequestFactory().get("/api/v1/x")
    request.request_id = "0123456789"  # type: ignore[attr-defined]
    response = views.server_error(request)
    assert response.status_code == 500
    assert b"server_error" in response.content  # type: ignore[attr-defined]
