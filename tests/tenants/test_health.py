"""``/healthz`` answers at once, ``/readyz`` when the models are there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client

from inference import runtime
from inference.request import Health
from tests.search.doubles import ScriptedGenerator


@pytest.fixture
def nothing_installed() -> Iterator[None]:
    runtime.uninstall()
    yield
    runtime.uninstall()


def test_the_process_is_up_before_the_models(db: None, client: Client, nothing_installed: None) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}
    response = client.get("/readyz")
    assert response.status_code == 503
    assert response.json()["state"] == "loading"
    assert response.json()["detail"]
    assert response["Retry-After"] == "5"


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_a_probe_that_asks_by_the_process_own_address_is_answered(
    path: str, db: None, client: Client, settings: Any
) -> None:
    settings.ALLOWED_HOSTS = ["search.example.org"]
    runtime.install(runtime.Runtime.of())
    assert client.get(path, headers={"Host": "10.0.0.7:8000"}).status_code == 200
    assert client.get("/accounts/login/", headers={"Host": "10.0.0.7:8000"}).status_code == 400
    runtime.uninstall()


def test_it_is_ready_when_the_models_are(db: None, client: Client, nothing_installed: None) -> None:
    runtime.install(runtime.Runtime.of())
    response = client.get("/readyz")
    assert (response.status_code, response.json()["state"]) == (200, "ready")


@pytest.mark.parametrize(
    ("health", "state"),
    [("ok", "ready"), ("restarting", "restarting"), ("failed", "failed")],
)
def test_it_is_not_ready_while_the_engine_has_crashed(
    db: None, client: Client, nothing_installed: None, health: Health, state: str
) -> None:
    generator = ScriptedGenerator()
    generator.health = health
    runtime.install(runtime.Runtime.of(generator))
    response = client.get("/readyz")
    assert (response.status_code, response.json()["state"]) == (200 if state == "ready" else 503, state)
