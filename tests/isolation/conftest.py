"""Two organisations with one of everything, and answers with what differs on purpose taken out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User

from inference import runtime
from search.index import close_all
from tenants.models import Organization
from tests.isolation.world import World, build
from tests.search.doubles import ScriptedGenerator


@pytest.fixture
def acme_world(acme: Organization, alice: User) -> World:
    return build(acme, alice, "canary-acme-7f3a91")


@pytest.fixture
def globex_world(globex: Organization, charlie: User) -> World:
    return build(globex, charlie, "canary-globex-52c0de")


@pytest.fixture
def installed_embedder(embedder: Any, settings: Any, tmp_path: Path) -> Iterator[Any]:
    """The real embedder and a scripted generator as the process's own, with an index of this test."""
    settings.VAR = tmp_path
    generator: Any = ScriptedGenerator()
    runtime.install(runtime.Runtime.of(embedder=embedder, generator=generator))
    yield embedder
    generator.release.set()
    runtime.uninstall()
    close_all()
