"""What clients of a server share: how they sign, how long they wait, how they read answers and refusals."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import httpx

from inference import wire
from inference.errors import (
    EngineStopped,
    InferenceError,
    InvalidRequest,
    LoadingFailed,
    NotReady,
    Overloaded,
    ServiceAway,
)
from inference.request import Delta, Finished, FinishReason, GenerationEvent, Usage
from inference.routes import Remote

GATEWAY_FAILURES = frozenset({502, 503, 504})
RETRIED = (408, 425, 429, 500, 502, 503, 504)
MAX_LINE = 4 << 20
MAX_REFUSAL = 64 << 10
REFUSAL_TIMEOUT_S = MODELS_TIMEOUT_S = 10.0
CONNECT_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 120.0
RETRY_S = 1.0


def connection(remote: Remote, read_s: float = READ_TIMEOUT_S) -> dict[str, Any]:
    """What an httpx client of the server is made of."""
    key = remote.key
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return {"base_url": remote.url, "headers": headers, "timeout": time_limits(read_s)}


def time_limits(read_s: float) -> httpx.Timeout:
    return httpx.Timeout(read_s, connect=CONNECT_TIMEOUT_S)


def unreachable(error: Exception) -> NotReady:
    return NotReady(f"The inference service does not answer ({type(error).__name__}).")


def ask(client: httpx.Client, path: str, body: wire.Json | None = None) -> Any:
    """The JSON that the server answers. Raises ``NotReady`` for one that is not reached, ``ServiceAway`` where the request
    was broken off, and as :func:`checked` does."""
    try:
        return checked(client.request("GET" if body is None else "POST", path, json=body))
    except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
        raise unreachable(error) from error
    except httpx.TransportError as error:
        raise ServiceAway(f"The inference service broke off ({type(error).__name__}).") from error


def checked(response: httpx.Response) -> Any:
    """The body of a good response. Raises the error that a bad one stands for: ``ServiceAway`` where it is not our service
    that says so."""
    body = _json(response.content)
    if response.status_code in GATEWAY_FAILURES and not wire.is_error_of_ours(body):
        raise ServiceAway(f"The inference service answered {response.status_code}.")
    if response.is_error:
        raise wire.error_from_json(body, response.status_code)
    return body


def _json(text: bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


class Passing(Exception):
    """A failure that may pass, so that another try is worth it while no token was delivered. ``error`` is what the
    caller is told in the end; ``down``: it speaks against the server, not of a full queue."""

    def __init__(self, error: InferenceError, *, after_s: float = 0.0, down: bool = True) -> None:
        super().__init__(str(error))
        self.error, self.after_s, self.down = error, after_s, down


async def refusal(response: httpx.Response, *, ours: bool) -> Exception:
    """What a bad response stands for: a :class:`Passing`, or the error for the caller. What our own service says in
    its own words is its decision. Of a body that does not end its beginning is read."""
    read = b""
    with contextlib.suppress(httpx.HTTPError, TimeoutError):
        async with asyncio.timeout(REFUSAL_TIMEOUT_S):
            async for piece in response.aiter_bytes():
                read += piece
                if len(read) > MAX_REFUSAL:
                    break
    body = _json(read)
    error = wire.error_from_json(body, response.status_code)
    after_s = 0.0
    with contextlib.suppress(ValueError):
        after_s = max(0.0, float(response.headers.get("retry-after", "")))
    if isinstance(error, Overloaded) and after_s:
        error.retry_after_s = round(after_s) or 1
    if response.status_code not in RETRIED or (ours and isinstance(body, dict) and "error" in body):
        return error
    if type(error) is InferenceError:
        error = NotReady(f"The inference service answered {response.status_code}.")
    return Passing(error, after_s=after_s, down=response.status_code != 429 and not after_s)


def counted(usage: Usage, event: Delta, started: float) -> Usage:
    """Usage so far, for requests that end without the server's own count."""
    first = usage.time_to_first_token_s
    first = time.monotonic() - started if first is None else first
    count = usage.completion_tokens + (len(event.token_ids) or 1)
    return replace(usage, completion_tokens=count, time_to_first_token_s=first)


async def _lines(response: httpx.Response) -> AsyncIterator[str]:
    """The lines of an event stream. httpx's own would also break at characters like U+2028 inside the text."""
    rest = b""
    async for piece in response.aiter_bytes():
        *whole, rest = (rest + piece).split(b"\n")
        for line in whole:
            yield line.decode()
        if len(rest) > MAX_LINE:
            raise ValueError("a line without end")
    yield rest.decode()


async def events(
    response: httpx.Response, read: Callable[[wire.Json], Delta], usage: Usage, started: float
) -> AsyncIterator[GenerationEvent]:
    """The events of a completion's SSE stream; the last is the one ``Finished``. ``read``: a choice as a piece of
    output; ``usage``: before the server's own count. Raises :class:`Passing` for a stream that breaks off or cannot
    be read."""
    reason: FinishReason | None = None
    try:
        async for line in _lines(response):
            data = line.removeprefix("data:").strip()
            if data == "[DONE]":
                break
            if data == line.strip():
                continue
            body = json.loads(data)
            if body.get("usage"):
                usage = wire.usage_from_json(body["usage"])
            if body.get("error"):
                yield Finished("error", usage, wire.error_from_json(body, response.status_code))
                return
            for choice in body.get("choices", ()):
                piece = read(choice)
                if piece.text or piece.token_ids:
                    yield piece
                reason = choice.get("finish_reason") or reason
    except httpx.HTTPError as broken:
        raise Passing(EngineStopped(f"The inference service went away: {broken}")) from broken
    except (ValueError, TypeError, AttributeError, KeyError) as broken:
        raise Passing(InferenceError(f"The service's answer cannot be read: {broken}")) from broken
    if reason is None:
        raise Passing(InferenceError("The stream ended before its last event."))
    total = time.monotonic() - started if usage.total_s is None else usage.total_s
    yield Finished(reason, replace(usage, total_s=total))


def find_model(
    remote: Remote, task: str, *, wait_s: float = 0.0, cancelled: Callable[[], bool] = lambda: False
) -> dict[str, Any]:
    """The server's entry for ``remote.model``, or its first model for ``task`` (``generate`` or ``embed``).

    Asks again for up to ``wait_s`` seconds while the server does not answer or still loads, unless
    ``cancelled()``. Raises ``NotReady`` or ``Overloaded`` then, and at once ``LoadingFailed`` when the
    server says that it will not load, ``InvalidRequest`` when it has no such model."""
    end = time.monotonic() + wait_s
    with httpx.Client(**connection(remote, MODELS_TIMEOUT_S)) as client:
        while True:
            try:
                listed: list[dict[str, Any]] = ask(client, "/v1/models")["data"]
                for entry in listed:
                    if entry["id"] == remote.model if remote.model else entry.get("task", "generate") == task:
                        return entry
                raise InvalidRequest(f"The server has no model {remote.model or f'to {task}'}.")
            except (NotReady, Overloaded) as error:
                if isinstance(error, LoadingFailed) or cancelled() or time.monotonic() >= end:
                    raise
            time.sleep(RETRY_S)
