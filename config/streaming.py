"""Files on their way out under ASGI: read block by block beside the event loop.

Django's ASGI handler reads a synchronous iterator to its end before it sends the first byte. What always holds: of a
file at most :data:`BLOCK` bytes are in memory, and the event loop is not held while they are read.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, StreamingHttpResponse
from django.http.response import HttpResponseBase

from tenants.middleware import Middleware

BLOCK = 1 << 16
"""Bytes read at a time, as many as Django sends in one message."""


class StreamingMiddleware(Middleware):
    """Makes every synchronous stream an asynchronous one, where the server is. Stands before all others."""

    def after(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        """Leaves the closing of the file to the response, which has taken it over already."""
        served_by_asgi = isinstance(request, ASGIRequest)  # the chain is synchronous here, as WhiteNoise is
        if served_by_asgi and isinstance(response, StreamingHttpResponse) and not response.is_async:
            response.streaming_content = _blocks(_reader(response))
        return response


def _reader(response: StreamingHttpResponse) -> Callable[[], bytes]:
    file: Any = getattr(response, "file_to_stream", None)
    if file is not None:
        return lambda: bytes(file.read(BLOCK))
    parts: Iterator[Any] = iter(response)
    return lambda: _next(parts)


def _next(parts: Iterator[bytes]) -> bytes:
    """The next part with something in it, empty at the end."""
    return next((part for part in parts if part), b"")


async def _blocks(read: Callable[[], bytes]) -> AsyncIterator[bytes]:
    while block := await asyncio.to_thread(read):
        yield block
