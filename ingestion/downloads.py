"""An uploaded file on its way back: always as an attachment, never as something that the browser runs."""

from __future__ import annotations

from django.core.files.storage import default_storage
from django.http import FileResponse
from django.http.response import HttpResponseBase
from django.utils.http import content_disposition_header

from ingestion.display_name import display_name


def attachment(key: str, filename: str) -> HttpResponseBase:
    """The stored file under a safe name. Raises ``FileNotFoundError``."""
    response = FileResponse(default_storage.open(key, "rb"))
    response["Content-Type"] = "application/octet-stream"
    response["Content-Disposition"] = content_disposition_header(True, display_name(filename)) or "attachment"
    response["X-Content-Type-Options"] = "nosniff"
    response["Content-Security-Policy"] = "default-src 'none'; sandbox"
    response["Cache-Control"] = "private, no-store"
    return response
