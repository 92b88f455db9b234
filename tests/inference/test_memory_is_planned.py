"""The memory that the report plans is what a model takes, and a 13B shape in 4 bits fits into 7 GB."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from torch import Tensor

from inference.memory import SHAPES, plan
from inference.model.native import NativeDecoder
from tests.engine.test_compiled_kernels_compute_the_decoder import WIDE
from tests.engine.tiny import make_checkpoint


def test_thirteen_billion_weights_fit_into_seven_gigabytes_in_four_bits() -> None:
    four, sixteen = (plan(SHAPES["13b"], weight_format, 0) for weight_format in ("int4", "bf16"))
    assert four.weights <= 7.0e9
    assert 25.9e9 < sixteen.weights < 26.1e9
    assert four.matrices / sum(
        layers * 4 * hidden * hidden + layers * 3 * hidden * ffn
        for layers, hidden, ffn in [(40, 5120, 13_824)]
    ) == pytest.approx(4.19 / 8, rel=2e-3)


def test_a_token_of_the_cache_takes_what_its_heads_hold() -> None:
    assert plan(SHAPES["13b"], "int4", 3).keys_and_values == 3 * 2 * 40 * 40 * 128 * 2
    assert plan(SHAPES["70b"], "fp32", 1).keys_and_values == 2 * 80 * 8 * 128 * 4
    assert plan(SHAPES["13b"], "int4", 3, "int8").keys_and_values == 3 * 2 * 40 * 40 * (128 + 4)


@pytest.mark.parametrize("weight_format", ["bf16", "int8", "int4"])
@pytest.mark.parametrize("family", ["llama", "qwen2"])
@pytest.mark.parametrize("kv", ["auto", "int8"])
def test_a_model_takes_what_was_planned(family: str, weight_format: str, kv: Any) -> None:
    checkpoint = make_checkpoint(family, **WIDE)
    model = NativeDecoder(
        checkpoint,
        weight_format,  # type: ignore[arg-type]
        num_blocks=8,
        max_positions=16,
        kv_cache_format=kv,
    )
    planned = plan(checkpoint.config, weight_format, 8 * 16, kv)  # type: ignore[arg-type]
    assert planned.keys_and_values == model._keys.nbytes + model._values.nbytes
    assert planned.weights + planned.keys_and_values == pytest.approx(model.nbytes, rel=0.01)


@pytest.mark.parametrize("weight_format", ["bf16", "int8", "int4"])
def test_the_largest_matrices_are_never_in_memory_as_a_whole(
    weight_format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = make_checkpoint("llama", **WIDE)
    read: list[str] = []
    whole = checkpoint.tensor

    def tensor(name: str) -> Tensor:
        read.append(name)
        return whole(name)

    monkeypatch.setattr(checkpoint, "tensor", tensor)
    NativeDecoder(checkpoint, weight_format, num_blocks=8, max_positions=16)  # type: ignore[arg-type]
    assert "model.norm.weight" in read
    assert not {"model.embed_tokens.weight", "lm_head.weight"} & set(read)


def test_the_command_prints_every_format() -> None:
    out = io.StringIO()
    call_command("models", "memory", shape="13b", kv_tokens=4096, stdout=out)
    lines = out.getvalue().splitlines()
    assert [line.split()[0] for line in lines[2:]] == ["fp32", "bf16", "int8", "int4"]
    assert lines[-1].split()[1:] == ["6.98", "3.36", "10.33"]


def test_a_shape_that_is_not_known_is_an_error_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="no weights"):
        call_command("models", "memory", shape=str(tmp_path / "nothing.gguf"))
