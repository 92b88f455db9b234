"""Refuses a request body that is too large before it is spooled to disk (T26).

Django's ASGI handler reads the whole body before any view runs, so the limit stands in front of it. What always
holds: a body whose declared length is too large is not read at all; of one without a declared length (chunked) at
most the limit is read, then the request is answered with 413 and the application sees a disconnect.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[..., Awaitable[None]]

FORM_OVERHEAD = 1_000_000
"""Bytes that a multipart body may have beside its file."""


class BodyLimit:
    """Wraps ``application``; ``limit`` is in bytes."""

    def __init__(self, application: Application, limit: int) -> None:
        self.application = application
        self.limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.application(scope, receive, send)
            return
        if _declared(scope) > self.limit:
            await _refuse(send, self.limit)
            return
        await self.application(scope, *self._counted(receive, send))

    def _counted(self, receive: Receive, send: Send) -> tuple[Receive, Send]:
        seen, refused, started = 0, False, False

        async def count() -> Message:
            nonlocal seen, refused
            if refused:
                return {"type": "http.disconnect"}
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self.limit:
                refused = True
                if not started:
                    await _refuse(send, self.limit)
                return {"type": "http.disconnect"}
            return message

        async def pass_on(message: Message) -> None:
            nonlocal started
            started = True
            if not refused:
                await send(message)

        return count, pass_on


def _declared(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit() and len(value) < 19:
            return int(value)
    return 0


async def _refuse(send: Send, limit: int) -> None:
    message = f"The request is larger than {limit // 1_000_000} MB."
    error = {"code": "too_large", "message": message, "detail": "Send a smaller file.", "request_id": None}
    body = json.dumps({"error": error}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send(
        {"type": "http.response.start", "status": 413, "headers": [*headers, (b"connection", b"close")]}
    )
    await send({"type": "http.response.body", "body": body})
