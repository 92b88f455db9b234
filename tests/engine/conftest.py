from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from inference.engine.engine import Engine
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


@pytest.fixture(autouse=True)
def _the_books_hold_after_every_test(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every engine of a test, but those that died, has blocks and sequences that agree when it ends."""
    engines: list[Engine] = []
    make = Engine.__init__

    def noting(self: Engine, *args: Any, **kwargs: Any) -> None:
        make(self, *args, **kwargs)
        engines.append(self)

    monkeypatch.setattr(Engine, "__init__", noting)
    yield
    for engine in engines:
        if engine.health == "failed" or (engine._thread is not None and engine._thread.is_alive()):
            continue
        engine._scheduler.check_integrity()
        if not engine._stopped:
            engine.check_integrity()
