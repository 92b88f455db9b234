"""``/metrics``: what the engine and this process count, and how the queues are, for Prometheus.

For whoever sends the key ``TESSERA_METRICS_KEY``, and for a signed-in operator; not for whoever comes from this machine,
since behind a proxy that is everybody. It names organisations by their numbers and holds no text of anybody.
"""

from __future__ import annotations

import hmac

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from config import queue_metrics
from inference import runtime
from inference.engine.metrics import exposition
from inference.errors import InferenceError
from ingestion import jobs
from ingestion.overview import overview


def metrics(request: HttpRequest) -> HttpResponse:
    """Prometheus' text format; 401 for whoever may not read it."""
    if not (_has_key(request) or is_operator(request)):
        refusal = HttpResponse("Send TESSERA_METRICS_KEY as a bearer token.\n", "text/plain", 401)
        refusal["WWW-Authenticate"] = "Bearer"
        return refusal
    models = runtime.current()
    values = {"models_ready": float(models.state == "ready"), "ingestion_jobs_due": float(jobs.due_in()[0])}
    name = ""
    try:
        values |= models.metrics()
        name = models.generator.model_name
    except InferenceError:  # no engine yet, or its service is away: models_ready says so
        pass
    text = exposition(values, name) + queue_metrics.exposition(overview())
    response = HttpResponse(text, "text/plain; version=0.0.4; charset=utf-8")
    response["Cache-Control"] = "no-store"
    return response


def is_operator(request: HttpRequest) -> bool:
    """Whether a member of the staff is signed in, who may open Django's admin."""
    return request.user.is_active and request.user.is_staff


def _has_key(request: HttpRequest) -> bool:
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    right: str = settings.ENV.metrics_key
    return (
        bool(right)
        and scheme.lower() == "bearer"
        and hmac.compare_digest(key.strip().encode(), right.encode())
    )
