from __future__ import annotations

from pathlib import Path

import pytest
import torch

from inference import catalog
from inference.loading.checkpoint import Checkpoint, load_checkpoint


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def smollm2() -> Path:
    return catalog.fetch("smollm2-135m-instruct")


@pytest.fixture(scope="session")
def qwen() -> Path:
    return catalog.fetch("qwen2.5-coder-0.5b-instruct")


@pytest.fixture(scope="session")
def minilm() -> Path:
    return catalog.fetch("all-MiniLM-L6-v2")


@pytest.fixture(scope="session")
def checkpoint(smollm2: Path) -> Checkpoint:
    return load_checkpoint(smollm2)
