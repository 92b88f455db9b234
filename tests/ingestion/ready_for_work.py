"""Fixtures of the tests that take a file all the way: the real embedder, an index of their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from inference import runtime
from search.index import opening


@pytest.fixture
def storage(settings: Any, tmp_path: Path) -> Iterator[Path]:
    """Files and the index of one test; ids of organisations are given out again by the next."""
    opening.close_all()
    settings.VAR = tmp_path
    settings.STORAGES = {
        **settings.STORAGES,
        "default": {
            "BACKEND": "django.core.files.storage.FileSystemStorage",
            "OPTIONS": {"location": tmp_path / "files"},
        },
    }
    yield tmp_path
    opening.close_all()


@pytest.fixture
def models(storage: Path, embedder: Any) -> Iterator[Any]:
    """The embedder installed as the process's own."""
    runtime.install(runtime.Runtime.of(embedder=embedder))
    yield embedder
    runtime.uninstall()
