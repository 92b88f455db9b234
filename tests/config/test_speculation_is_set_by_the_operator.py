"""``TESSERA_SPECULATION`` reaches the engine from the product and from the inference service alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from config import runtime as settings
from config.env import Env
from inference import runtime
from inference.engine.engine import Engine
from inference.environment import config_from_environment
from inference.errors import InvalidRequest
from inference.lane import ComputeLane


def of_the_product(monkeypatch: pytest.MonkeyPatch) -> runtime.RuntimeConfig:
    read = Env()
    monkeypatch.setattr(settings, "env", lambda: read)
    return settings.runtime_config()


@pytest.mark.parametrize(("written", "up_to"), [(None, None), ("auto", None), ("0", 0), ("8", 8)])
def test_the_engine_drafts_up_to_what_was_written(
    written: str | None, up_to: int | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("TESSERA_SPECULATION", raising=False)
    monkeypatch.setenv("TESSERA_MODEL", str(tmp_path))
    if written is not None:
        monkeypatch.setenv("TESSERA_SPECULATION", written)
    started: list[Any] = []
    monkeypatch.setattr(Engine, "start", lambda config, **_: started.append(config))
    for config in (of_the_product(monkeypatch), config_from_environment()):
        runtime._load_generator(config, runtime.Runtime(), ComputeLane())
    assert [config.speculation for config in started] == [up_to, up_to]


@pytest.mark.parametrize("written", ["-1", "often", ""])
def test_what_is_no_number_is_refused(written: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TESSERA_SPECULATION", written)
    with pytest.raises(ValueError, match="speculation"):
        Env()
    with pytest.raises(InvalidRequest, match="A setting of the inference service"):
        config_from_environment()
