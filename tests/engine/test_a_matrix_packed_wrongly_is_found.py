"""A model whose packed matrices do not multiply as the checkpoint's do is not started."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from inference.config import EngineConfig
from inference.model.build import build_model
from inference.model.packing_check import PackingFailed
from inference.quantization import panels
from inference.quantization.int4 import Int4Linear
from tests.engine.tiny import TinyCheckpoint, make_checkpoint, make_config

WIDE = {
    "hidden_size": 384,
    "intermediate_size": 320,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 64,
}


@pytest.fixture(scope="module")
def wide() -> TinyCheckpoint:
    return make_checkpoint("qwen2", **WIDE)


def config(weight_format: str, kernels: str) -> EngineConfig:
    return make_config(weight_format=weight_format, kernels=kernels)


@pytest.mark.parametrize("kernels", ["auto", "off"])
@pytest.mark.parametrize("weight_format", ["fp32", "bf16", "int8", "int4"])
def test_every_format_passes(wide: TinyCheckpoint, weight_format: str, kernels: str) -> None:
    model = build_model(wide, config(weight_format, kernels), max_positions=64)
    assert model.alignment >= 1


def reversed_columns(pack: Callable[..., None]) -> Callable[..., None]:
    def harmed(self: Any, values: torch.Tensor, first: int) -> None:
        pack(self, values.flip(1), first)

    return harmed


@pytest.mark.parametrize("weight_format", ["bf16", "int8"])
def test_a_wrong_order_of_inputs_is_found(
    wide: TinyCheckpoint, weight_format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(panels.PanelLinear, "_pack", reversed_columns(panels.PanelLinear._pack))
    with pytest.raises(PackingFailed, match="o_proj") as raised:
        build_model(wide, config(weight_format, "auto"), max_positions=64)
    assert raised.value.code == "packing_failed"


def test_swapped_halves_of_bytes_are_found(wide: TinyCheckpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    halves = panels._halves
    monkeypatch.setattr(panels, "_halves", lambda values: halves(values.flip(2)))
    with pytest.raises(PackingFailed):
        build_model(wide, config("int4", "auto"), max_positions=64)


def test_torchs_int4_is_checked_too(wide: TinyCheckpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    multiply = Int4Linear.__call__
    monkeypatch.setattr(Int4Linear, "__call__", lambda self, x: multiply(self, x.flip(1)))
    with pytest.raises(PackingFailed, match="int4"):
        build_model(wide, config("int4", "off"), max_positions=64)


def test_values_that_are_no_numbers_are_found(wide: TinyCheckpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    multiply = Int4Linear.__call__
    monkeypatch.setattr(Int4Linear, "__call__", lambda self, x: multiply(self, x) * float("nan"))
    with pytest.raises(PackingFailed):
        build_model(wide, config("int4", "off"), max_positions=64)
