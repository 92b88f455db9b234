"""T26: a body beyond the limit is refused before it is read, or as soon as it passes the limit."""

from __future__ import annotations

import asyncio
from typing import Any

from config.body_limit import BodyLimit, Message, Receive, Scope, Send


class Reader:
    """An application that reads its whole body and answers 200; it remembers what it saw."""

    def __init__(self) -> None:
        self.body = b""
        self.disconnected = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.disconnected = True
                return
            self.body += message.get("body", b"")
            if not message.get("more_body"):
                break
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})


def send_body(parts: list[bytes], *, declared: int | None) -> tuple[int, Reader, int]:
    """The status answered, the application, and how many parts were read."""
    reader, statuses, read = Reader(), [], 0

    async def receive() -> Message:
        nonlocal read
        read += 1
        return {"type": "http.request", "body": parts[read - 1], "more_body": read < len(parts)}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    headers: list[Any] = [] if declared is None else [(b"content-length", str(declared).encode())]
    asyncio.run(BodyLimit(reader, 100)({"type": "http", "headers": headers}, receive, send))
    assert len(statuses) == 1
    return statuses[0], reader, read


def test_a_declared_length_beyond_the_limit_is_not_read() -> None:
    status, reader, read = send_body([b"x" * 101], declared=101)
    assert (status, reader.body, read) == (413, b"", 0)


def test_a_chunked_body_is_cut_off_at_the_limit() -> None:
    status, reader, read = send_body([b"x" * 60] * 50, declared=None)
    assert status == 413
    assert reader.disconnected
    assert read == 2


def test_a_length_that_lies_is_cut_off_at_the_limit() -> None:
    status, _, read = send_body([b"x" * 60] * 50, declared=10)
    assert (status, read) == (413, 2)


def test_a_body_of_the_limit_passes() -> None:
    status, reader, _ = send_body([b"x" * 60, b"x" * 40], declared=100)
    assert (status, reader.body) == (200, b"x" * 100)
