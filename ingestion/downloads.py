"""An uploaded file on its way back: always as an attachment, never as something that the browser runs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from asgiref.sync import sync_to_async
from django.core.files.storage import default_storage
from django.core.handlers.asgi import ASGIRequest
from django.http import FileResponse, HttpRequest, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.utils.http import content_disposition_header

from ingestion.display_name import display_name

BLOCK = 1 << 18


def attachment(request: HttpRequest, key: str, filename: str) -> HttpResponseBase:
    """The stored file under a safe name. Raises ``FileNotFoundError``."""
    file = default_storage.open(key, "rb")
    response: HttpResponseBase
    if isinstance(getattr(request, "_request", request), ASGIRequest):
        response = StreamingHttpResponse(_blocks(file))
        response["Content-Length"] = str(file.size)
    else:
        response = FileResponse(file)
    response["Content-Type"] = "application/octet-stream"
    response["Content-Disposition"] = content_disposition_header(True, display_name(filename)) or "attachment"
    response["X-Content-Type-Options"] = "nosniff"
    response["Content-Security-Policy"] = "default-src 'none'; sandbox"
    response["Cache-Control"] = "private, no-store"
    return response


async def _blocks(file: Any) -> AsyncIterator[bytes]:
    try:
        while block := await sync_to_async(file.read)(BLOCK):
            yield block
    finally:
        file.close()
