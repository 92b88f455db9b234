"""What clients of the inference service share: how they sign, how long they wait, how they read
refusals."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import httpx

from inference import wire
from inference.errors import InferenceError, InvalidRequest, NotReady

OURS = "tessera"
CONNECT_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 120.0
RETRY_S = 1.0


def headers(api_key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {api_key}"} if api_key else {}


def time_limits() -> httpx.Timeout:
    return httpx.Timeout(READ_TIMEOUT_S, connect=CONNECT_TIMEOUT_S)


def unreachable(error: Exception) -> NotReady:
    return NotReady(f"The inference service does not answer ({type(error).__name__}).")


def checked(response: httpx.Response) -> Any:
    """The body of a good response. Raises the error that a bad one stands for."""
    try:
        body = response.json()
    except ValueError:
        body = None
    if response.is_error:
        raise wire.error_from_json(body, response.status_code)
    return body


def find_model(
    base_url: str,
    *,
    api_key: str,
    model: str | None,
    task: str,
    wait_s: float = 0.0,
    cancelled: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """The server's entry for ``model``, or its first model for ``task`` (``generate`` or ``embed``).

    Asks again for up to ``wait_s`` seconds while the server does not answer or still loads, unless
    ``cancelled()``. Raises ``NotReady`` then, ``InvalidRequest`` when the server has no such model."""
    end = time.monotonic() + wait_s
    while True:
        try:
            with httpx.Client(base_url=base_url, headers=headers(api_key), timeout=time_limits()) as client:
                listed: list[dict[str, Any]] = checked(client.get("/v1/models"))["data"]
            for entry in listed:
                if entry["id"] == model if model else entry.get("task", "generate") == task:
                    return entry
            raise InvalidRequest(f"The server has no model {model or f'to {task}'}.")
        except httpx.TransportError as error:
            failure: InferenceError = unreachable(error)
        except NotReady as error:
            failure = error
        if cancelled() or time.monotonic() >= end:
            raise failure
        time.sleep(RETRY_S)
