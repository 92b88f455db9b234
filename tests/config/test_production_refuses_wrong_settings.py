"""T41: the product does not start in production with debug pages, a weak secret or an open index."""

from __future__ import annotations

from typing import Any

import pytest

from config.checks import findings
from config.env import Env

GOOD: dict[str, Any] = {
    "mode": "production",
    "secret_key": "x7Jq-Rt2vLp9" * 4,
    "allowed_hosts": "search.example.org",
    "database_url": "postgresql://tessera:pw@db/tessera",
    "broker_url": "redis://redis:6379/0",
    "redis_url": "redis://redis:6379/1",
    "qdrant_url": "http://qdrant:6333",
    "qdrant_api_key": "key",
    "inference_url": "http://inference:8001",
    "inference_api_key": "key",
}


def codes(**changes: Any) -> list[str | None]:
    return [finding.id for finding in findings(Env(**{**GOOD, **changes}))]


def test_good_settings_pass() -> None:
    assert codes() == []


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"debug": True}, "tessera.E010"),
        ({"secret_key": ""}, "tessera.E011"),
        ({"secret_key": "django-insecure-" + "a" * 40}, "tessera.E011"),
        ({"secret_key": "a" * 40}, "tessera.E011"),
        ({"allowed_hosts": "*"}, "tessera.E012"),
        ({"allowed_hosts": "search.example.org, *"}, "tessera.E012"),
        ({"database_url": ""}, "tessera.E013"),
        ({"broker_url": ""}, "tessera.E014"),
        ({"redis_url": ""}, "tessera.E030"),
        ({"qdrant_url": ""}, "tessera.E015"),
        ({"qdrant_api_key": ""}, "tessera.E016"),
        ({"inference_url": ""}, "tessera.E017"),
        ({"TESSERA_DEMO_PASSWORD": "demo"}, "tessera.E018"),
        ({"inference_api_key": ""}, "tessera.E002"),
        ({"model": "gpt-9"}, "tessera.E001"),
    ],
)
def test_a_wrong_setting_is_refused(changes: dict[str, Any], code: str) -> None:
    assert codes(**changes) == [code]


def test_each_finding_says_what_to_do() -> None:
    for finding in findings(Env(mode="production")):
        assert finding.hint
