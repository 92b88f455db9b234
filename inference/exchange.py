"""One HTTP exchange over ASGI: reading a JSON request, answering it at once or as a stream of events."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from inference import wire
from inference.errors import InvalidRequest

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

MAX_BODY_BYTES = 32 << 20


class Refused(Exception):
    """An HTTP answer that is no result: status, body and headers."""

    def __init__(self, status: int, body: wire.Json, headers: dict[str, str] | None = None) -> None:
        self.status, self.body, self.headers = status, body, headers or {}


class Exchange:
    """One HTTP request and its answer."""

    def __init__(self, scope: Message, receive: Receive, send: Send) -> None:
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.headers = {
            name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]
        }
        self._receive, self._send = receive, send

    async def json(self) -> wire.Json:
        """The request's body. Raises ``InvalidRequest`` when it is no JSON object, ``Refused`` when too
        long."""
        received = bytearray()
        while True:
            message = await self._receive()
            received += message.get("body", b"")
            if len(received) > MAX_BODY_BYTES:
                raise Refused(413, wire.error_to_json(InvalidRequest("The request is too long.")))
            if not message.get("more_body"):
                break
        try:
            body = json.loads(bytes(received))
        except (ValueError, RecursionError):
            body = None
        if not isinstance(body, dict):
            raise InvalidRequest("The body must be a JSON object.")
        return body

    async def gone(self) -> None:
        """Returns when the client has closed the connection."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def start(self, status: int, content_type: str, headers: dict[str, str] | None = None) -> None:
        pairs = {"content-type": content_type, "cache-control": "no-store", **(headers or {})}
        raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in pairs.items()]
        await self._send({"type": "http.response.start", "status": status, "headers": raw})

    async def write(self, data: bytes, *, more: bool) -> None:
        await self._send({"type": "http.response.body", "body": data, "more_body": more})

    async def answer(self, status: int, body: wire.Json, headers: dict[str, str] | None = None) -> None:
        await self.start(status, "application/json", headers)
        await self.write(json.dumps(body, ensure_ascii=False).encode(), more=False)

    async def event(self, body: wire.Json | str) -> None:
        data = body if isinstance(body, str) else json.dumps(body, ensure_ascii=False)
        await self.write(f"data: {data}\n\n".encode(), more=True)
