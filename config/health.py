"""Two questions of an operator: does the process answer, and can it answer questions.

``/healthz`` is 200 as soon as the server listens. ``/readyz`` is 200 only when the models are loaded and the
database answers, else 503 with the reason. Neither needs a sign-in, and neither tells anything about a tenant. A probe
asks a process by its address, which is no host name of the site: both answer under any.
"""

from __future__ import annotations

import logging

from django.db import DatabaseError, connection
from django.http import HttpRequest, HttpResponsePermanentRedirect, JsonResponse
from django.middleware.common import CommonMiddleware

from inference import runtime

logger = logging.getLogger(__name__)
_RETRY_AFTER_S = "5"
_PATHS = ("/healthz", "/readyz")


class HostsMiddleware(CommonMiddleware):
    """Django's check of the host name, but for probes."""

    def process_request(self, request: HttpRequest) -> HttpResponsePermanentRedirect | None:
        return None if request.path in _PATHS else super().process_request(request)


class NotWhileLoading(logging.Filter):
    """Keeps the 503 answers of ``/readyz``, of which a probe gets one a second while models load,
    out of the log."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not (getattr(record, "status_code", 0) == 503 and "/readyz" in record.getMessage())


def healthz(request: HttpRequest) -> JsonResponse:
    """The process listens."""
    return JsonResponse({"status": "ok"})


def readyz(request: HttpRequest) -> JsonResponse:
    """``{"state", "detail"}`` of the models, under 200 when ready and 503 otherwise."""
    models = runtime.current()
    state, detail = str(models.state), str(models.detail)
    if state == "ready" and not _database_answers():
        state, detail = "failed", "The database does not answer."
    response = JsonResponse({"state": state, "detail": detail}, status=200 if state == "ready" else 503)
    response["Cache-Control"] = "no-store"
    if state != "ready":
        response["Retry-After"] = _RETRY_AFTER_S
    return response


def _database_answers() -> bool:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError:
        logger.exception("the database does not answer")
        return False
    return True
