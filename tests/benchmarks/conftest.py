from __future__ import annotations

import pytest

from tests.engine.tiny import TinyCheckpoint, make_checkpoint


@pytest.fixture(scope="session")
def llama() -> TinyCheckpoint:
    return make_checkpoint("llama")
