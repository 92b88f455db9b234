from __future__ import annotations

import pytest
import torch

from tests.engine.tiny import TinyCheckpoint, make_checkpoint


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session", params=["llama", "qwen2"])
def checkpoint(request: pytest.FixtureRequest) -> TinyCheckpoint:
    return make_checkpoint(request.param)


@pytest.fixture(scope="session")
def llama() -> TinyCheckpoint:
    return make_checkpoint("llama")
