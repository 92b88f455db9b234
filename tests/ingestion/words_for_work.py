"""The fixture of tests that take a file all the way where the meaning of its vectors does not matter."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from inference import runtime
from tests.faults.words_service import WordsEmbedder


@pytest.fixture
def words(storage: Path) -> Iterator[WordsEmbedder]:
    """An embedder that hashes words, installed as the process's own: no model has to be loaded."""
    embedder = WordsEmbedder()
    runtime.install(runtime.Runtime.of(embedder=embedder))
    yield embedder
    runtime.uninstall()
