"""The production files are checked without Docker: they parse, and every variable is one that we read."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from config.checks import findings
from config.env import Env

ROOT = Path(__file__).resolve().parents[2]
SERVICES = {"postgres", "redis", "qdrant", "migrate", "web", "worker", "beat", "inference"}
OURS = {"migrate", "web", "worker", "beat", "inference"}


def compose() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    return document


def test_compose_has_the_services_of_the_design() -> None:
    assert set(compose()["services"]) == SERVICES


def test_every_lasting_service_has_a_health_check() -> None:
    for name, service in compose()["services"].items():
        if name != "migrate":
            assert service["healthcheck"]["test"], name


def test_every_variable_exists_in_env() -> None:
    known = {f"TESSERA_{name.upper()}" for name in Env.model_fields} | {
        "FORWARDED_ALLOW_IPS"
    }  # uvicorn's own
    for name in OURS:
        for variable in compose()["services"][name]["environment"]:
            assert variable in known, f"{name} sets {variable}, which nothing reads"


def test_every_placeholder_is_in_the_example() -> None:
    text = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    required = set(re.findall(r"\$\{(\w+):\?", text))
    example = {
        line.split("=")[0] for line in (ROOT / ".env.example").read_text(encoding="utf-8").splitlines()
    }
    assert required <= example


def test_the_settings_of_compose_pass_the_checks() -> None:
    environment = compose()["services"]["web"]["environment"]
    secret = "k7Rq-only-for-this-test-" * 2
    values = {
        key.removeprefix("TESSERA_").lower(): re.sub(r"\$\{(\w+)(:[^}]*)?\}", secret, str(value))
        for key, value in environment.items()
    }
    values["secure_cookies"] = "true"
    assert list(findings(Env.model_validate(values))) == []


def test_the_dockerfile_copies_every_package() -> None:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    for package in ("config", "tenants", "inference", "search", "ingestion", "templates", "static"):
        assert f"COPY {package} {package}" in text
