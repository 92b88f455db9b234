"""The body of an upload, handed to its view as it arrives.

Django's ASGI handler reads every body to its end, into a temporary file, before any view runs. So a file that will be refused
would cost its whole transfer and its place on a disk. What always holds: only the bodies of uploads are live; nothing of one is
read before its view asks, so what is refused by headers alone is never read; the server holds the sender back meanwhile; and of
uploads at most :data:`AT_ONCE` are received at a time, since each keeps a thread, the others wait unread.
"""

from __future__ import annotations

import asyncio
import io
import re
from collections.abc import MutableMapping
from typing import Any

from django import setup
from django.core.handlers.asgi import ASGIHandler

from config.body_limit import Message, Receive

UPLOAD = re.compile(r"/api/v1/documents(/archive)?|/o/[^/]+/documents/(upload|[0-9a-f-]{36}/replace)")
AT_ONCE = 32
SILENCE_S = 30.0
"""A sender that is silent for so long has gone."""


class LiveBody(io.RawIOBase):
    """A file of a request's body, read in a view's thread while the event loop receives it.

    Raises ``ConnectionResetError`` where the sender has gone, ``TimeoutError`` where it is silent; both are read by Django as
    a body that cannot be read.
    """

    def __init__(self, receive: Receive) -> None:
        super().__init__()
        self._receive = receive
        self._loop = asyncio.get_running_loop()
        self._rest = b""
        self._gone = False
        self._whole = asyncio.Event()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """At least one byte before the end, as :class:`io.RawIOBase` has it."""
        while not self._rest and not self._whole.is_set():
            self._rest = self._wait_for_more()
        part, self._rest = self._rest[: len(buffer)], self._rest[len(buffer) :]
        buffer[: len(part)] = part
        return len(part)

    async def receive_after(self) -> Message:
        """What the server says once the body has ended; Django waits here for the sender's going."""
        await self._whole.wait()
        return {"type": "http.disconnect"} if self._gone else await self._receive()

    def _wait_for_more(self) -> bytes:
        if self._gone:
            raise ConnectionResetError("The sender has gone.")
        coming = asyncio.run_coroutine_threadsafe(self._next(), self._loop)
        try:
            return coming.result(SILENCE_S)
        except TimeoutError:
            coming.cancel()
            raise

    async def _next(self) -> bytes:
        message: MutableMapping[str, Any] = await self._receive()
        if message["type"] == "http.disconnect":
            self._gone = True
            self._whole.set()
            raise ConnectionResetError("The sender has gone.")
        if not message.get("more_body", False):
            self._whole.set()
        return bytes(message.get("body", b""))


class LiveHandler(ASGIHandler):
    """Django's handler, but for the bodies of uploads."""

    def __init__(self) -> None:
        super().__init__()
        self._places = asyncio.Semaphore(AT_ONCE)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or scope["method"] != "POST" or not UPLOAD.fullmatch(scope["path"]):
            await super().__call__(scope, receive, send)
            return
        async with self._places:
            await super().__call__(scope, LiveBody(receive).receive_after, send)

    async def read_body(self, receive: Any) -> Any:
        body = getattr(receive, "__self__", None)
        return io.BufferedReader(body) if isinstance(body, LiveBody) else await super().read_body(receive)


def get_live_application() -> LiveHandler:
    """What :func:`django.core.asgi.get_asgi_application` gives, with live bodies."""
    setup(set_prefix=False)
    return LiveHandler()
