"""The production files are checked without Docker: they parse, and every variable is one that we read."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from config.checks import findings
from config.env import Env

ROOT = Path(__file__).resolve().parents[2]
SERVICES = {"postgres", "redis", "qdrant", "migrate", "web", "worker", "beat", "inference"}
OURS = {"migrate", "web", "worker", "beat", "inference"}
SETTINGS = {f"TESSERA_{name.upper()}" for name in Env.model_fields}
OF_THE_IMAGE = {
    "TESSERA_VAR_DIR", "TESSERA_MODELS_DIR",  # its volumes
    "TESSERA_HOST", "TESSERA_PORT", "TESSERA_LOAD_MODELS",  # of `make run` and tests
    "TESSERA_DEBUG", "TESSERA_DEMO_PASSWORD",  # refused in production
    "TESSERA_INDEX_PROCESS", "TESSERA_INDEX_OPEN_SHARDS",  # of the embedded index
}  # fmt: skip
OF_LIBRARIES = {"FORWARDED_ALLOW_IPS", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"}
"""Read by uvicorn and by boto."""
OF_INFERENCE = {"TESSERA_DEVICE"}
"""Read by the inference service alone."""


def compose() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    return document


def test_compose_has_the_services_of_the_design() -> None:
    assert set(compose()["services"]) == SERVICES


def test_every_lasting_service_has_a_health_check() -> None:
    for name, service in compose()["services"].items():
        if name != "migrate":
            assert service["healthcheck"]["test"], name


def variables_of(service: str) -> set[str]:
    return set(compose()["services"][service]["environment"])


def test_every_variable_exists_in_env() -> None:
    for name in OURS:
        unknown = variables_of(name) - SETTINGS - OF_LIBRARIES - OF_INFERENCE
        assert not unknown, f"{name} sets {unknown}, which nothing reads"


@pytest.mark.parametrize("service", sorted(OURS))
def test_every_setting_reaches_the_service(service: str) -> None:
    """A setting that the compose file does not name stays at its default, whatever stands in .env."""
    assert variables_of(service) >= SETTINGS - OF_THE_IMAGE


def test_the_image_sets_where_its_state_lies() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    for variable in ("TESSERA_VAR_DIR", "TESSERA_MODELS_DIR"):
        assert f"{variable}=/" in dockerfile


def test_no_server_writes_addresses_with_questions_in_them_to_its_log() -> None:
    """uvicorn's access log has the whole address, and the search page keeps the question there."""
    command = compose()["services"]["web"]["command"]
    assert "--no-access-log" in command
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert json.loads(dockerfile.split("\nCMD ")[1]) == command


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
        if value is not None
    }
    values["secure_cookies"] = "true"
    assert list(findings(Env.model_validate(values))) == []


def test_the_dockerfile_copies_every_package() -> None:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    for package in ("config", "tenants", "inference", "search", "ingestion", "templates", "static"):
        assert f"COPY {package} {package}" in text
