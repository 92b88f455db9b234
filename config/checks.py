"""Refuses wrong mixes of settings at start, each with a sentence that says what to do."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit

from django.apps import AppConfig
from django.core.checks import CheckMessage, Error, register

from config.env import Env, env, names
from inference import catalog
from inference.errors import InferenceError
from inference.routes import parse_remotes, parse_routes

WEAK_SECRETS = ("changeme", "change-me", "secret", "insecure", "django-insecure", "password", "default")


@register()
def check_settings(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """All findings for the settings of this process."""
    return list(findings(env()))


def refuse_wrong_settings() -> None:
    """Ends a process of production whose settings are wrong, with what to do about each.

    Commands run the checks by themselves; the servers of web, worker and beat do not.
    """
    wrong = list(findings(env())) if env().mode == "production" else []
    if wrong:
        sys.exit("\n".join(f"{finding.id}: {finding.msg} {finding.hint or ''}" for finding in wrong))


def refuse_wrong_database() -> None:
    """Ends a process of production whose database role or tables let rows of every organisation through. Needs
    Django to be set up."""
    if env().mode == "production":
        from tenants import database_role

        database_role.refuse_at_start()


def findings(e: Env) -> Iterator[CheckMessage]:
    """What is wrong with ``e``, first the names of models, then what production refuses."""
    for variable, name in (("TESSERA_MODEL", e.model), ("TESSERA_EMBEDDING_MODEL", e.embedding_model)):
        try:
            catalog.find(name)
        except InferenceError as error:
            yield Error(f"{variable}: {error}", hint=error.hint, id="tessera.E001")
    try:
        parse_routes(e.routes, parse_remotes(e.remotes))
    except InferenceError as error:
        yield Error(str(error), hint=error.hint, id="tessera.E003")
    if e.inference_url and not e.inference_api_key:
        yield Error(
            "TESSERA_INFERENCE_URL is set without TESSERA_INFERENCE_API_KEY.",
            hint="Give web, worker and inference the same key, so that nobody else can use the service.",
            id="tessera.E002",
        )
    if e.mode == "production":
        yield from _production(e)


def _production(e: Env) -> Iterator[CheckMessage]:
    if e.debug:
        yield Error("Debug pages are on in production.", hint="Unset TESSERA_DEBUG.", id="tessera.E010")
    if _is_weak(e.secret_key):
        yield Error(
            "The secret key is missing, short or a known default.",
            hint="Set TESSERA_SECRET_KEY (or TESSERA_SECRET_KEY_FILE) to at least 32 random characters.",
            id="tessera.E011",
        )
    if "*" in names(e.allowed_hosts):
        yield Error(
            "Every host name is allowed.", hint="List yours in TESSERA_ALLOWED_HOSTS.", id="tessera.E012"
        )
    if not e.database_url.startswith("postgres"):
        yield Error("Production needs PostgreSQL.", hint="Set TESSERA_DATABASE_URL.", id="tessera.E013")
    if not e.broker_url:
        yield Error(
            "Production needs a broker.",
            hint="Set TESSERA_BROKER_URL to Redis or RabbitMQ.",
            id="tessera.E014",
        )
    if not e.redis_url:
        yield Error(
            "Without Redis no process can stream or stop an answer that another one makes.",
            hint="Set TESSERA_REDIS_URL, also where RabbitMQ is the broker.",
            id="tessera.E030",
        )
    if not e.qdrant_url:
        yield Error(
            "The embedded index belongs to one process and cannot be shared in production.",
            hint="Set TESSERA_QDRANT_URL to a Qdrant server.",
            id="tessera.E015",
        )
    elif not e.qdrant_api_key:
        yield Error(
            f"The Qdrant server at {urlsplit(e.qdrant_url).hostname} is used without a key.",
            hint="Give the server a key and set TESSERA_QDRANT_API_KEY.",
            id="tessera.E016",
        )
    if not e.inference_url:
        yield Error(
            "Each web process would load a model of its own.",
            hint="Start the inference service and set TESSERA_INFERENCE_URL.",
            id="tessera.E017",
        )
    if e.demo_password:
        yield Error("A demo password is set in production.", hint="Unset DEMO_PASSWORD.", id="tessera.E018")


def _is_weak(secret: str) -> bool:
    """Short, a known default, or made of so few different characters that somebody typed it."""
    return len(secret) < 32 or len(set(secret)) < 8 or secret.lower().startswith(WEAK_SECRETS)
