"""Checkpoints in 4 bits give the values that their formulas give; written here by a packer of the tests' own."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from safetensors.torch import load_file, save_file

from inference.errors import UnsupportedCheckpoint, WeightsCorrupt
from inference.loading.checkpoint import load_checkpoint
from tests.engine.checkpoints import make_model, save_folder

SHAPE = {"hidden_size": 64, "intermediate_size": 96, "num_attention_heads": 4, "vocab_size": 301}
Ints = npt.NDArray[np.int64]
Packer = Callable[[Ints, Ints, torch.Tensor], dict[str, torch.Tensor]]


def words(values: Ints, order: tuple[int, ...] = tuple(range(8))) -> torch.Tensor:
    """Eight values of the last axis to a word; place ``n`` of a word holds value ``order[n]`` of the eight."""
    packed = np.zeros((*values.shape[:-1], values.shape[-1] // 8), dtype=np.uint64)
    for word in range(packed.shape[-1]):
        for place, value in enumerate(order):
            packed[..., word] |= values[..., 8 * word + value].astype(np.uint64) << np.uint64(4 * place)
    return torch.from_numpy(packed.astype(np.uint32).view(np.int32).copy())


def gptq(codes: Ints, zeros: Ints, scales: torch.Tensor) -> dict[str, torch.Tensor]:
    return {
        "qweight": words(codes).t().contiguous(),
        "qzeros": words(zeros.T - 1),
        "scales": scales.t().contiguous(),
    }


def gptq_v2(codes: Ints, zeros: Ints, scales: torch.Tensor) -> dict[str, torch.Tensor]:
    return gptq(codes, zeros + 1, scales)


def awq(codes: Ints, zeros: Ints, scales: torch.Tensor) -> dict[str, torch.Tensor]:
    order = (0, 2, 4, 6, 1, 3, 5, 7)
    return {
        "qweight": words(codes.T, order),
        "qzeros": words(zeros.T, order),
        "scales": scales.t().contiguous(),
    }


def write(
    folder: Path,
    pack: Packer,
    size: int,
    settings: dict[str, Any],
    *,
    lowest_zero: int = 0,
    group_of: Callable[[int, int], Ints] | None = None,
) -> dict[str, torch.Tensor]:
    """A folder whose projections are in 4 bits; returns their values by name."""
    save_folder(make_model("qwen2", **SHAPE), folder, quantization_config=settings)
    tensors = load_file(folder / "model.safetensors")
    chance, wanted = np.random.default_rng(3), {}
    for name in [name for name in tensors if name.endswith("_proj.weight")]:
        out, inputs = tensors.pop(name).shape
        groups = inputs // size if size > 0 else 1
        codes = chance.integers(0, 16, (out, inputs))
        zeros = chance.integers(lowest_zero, 16, (out, groups))
        scales = torch.from_numpy(chance.uniform(0.001, 0.1, (out, groups))).half()
        stem = name.removesuffix("weight")
        tensors |= {stem + part: value for part, value in pack(codes, zeros, scales).items()}
        of = np.arange(inputs) // (inputs // groups)
        if group_of is not None:
            of = group_of(inputs, groups)
            tensors[stem + "g_idx"] = torch.from_numpy(of.astype(np.int32))
        wanted[name] = torch.from_numpy(scales.numpy().astype(np.float64)[:, of] * (codes - zeros[:, of]))
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return wanted


GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 32, "sym": False, "desc_act": False}
AWQ = {"quant_method": "awq", "bits": 4, "group_size": 32, "zero_point": True, "version": "gemm"}


@pytest.mark.parametrize(
    ("pack", "size", "scheme", "lowest_zero"),
    [
        pytest.param(gptq, 32, GPTQ, 1, id="gptq"),
        pytest.param(gptq, -1, GPTQ | {"group_size": -1, "checkpoint_format": "gptq"}, 1, id="one-group"),
        pytest.param(gptq_v2, 32, GPTQ | {"checkpoint_format": "gptq_v2"}, 0, id="gptq-v2"),
        pytest.param(awq, 32, AWQ, 0, id="awq"),
        pytest.param(awq, 16, {"quant_method": "awq", "w_bit": 4, "q_group_size": 16}, 0, id="awq-old-names"),
    ],
)
def test_every_value_is_exact(
    tmp_path: Path, pack: Packer, size: int, scheme: dict[str, Any], lowest_zero: int
) -> None:
    wanted = write(tmp_path, pack, size, scheme, lowest_zero=lowest_zero)
    checkpoint = load_checkpoint(tmp_path)
    assert {name for name in checkpoint.names() if name.endswith("_proj.weight")} == set(wanted)
    for name, values in wanted.items():
        assert checkpoint.shape(name) == tuple(values.shape)
        assert torch.equal(checkpoint.tensor(name).double(), values), name
        assert torch.equal(checkpoint.rows(name, 8, 16).double(), values[8:16])


def test_gptq_with_activation_order_reads_the_group_of_each_input(tmp_path: Path) -> None:
    order = np.random.default_rng(8)
    wanted = write(
        tmp_path,
        gptq,
        32,
        GPTQ | {"desc_act": True},
        lowest_zero=1,
        group_of=lambda inputs, groups: order.permutation(np.arange(inputs) // (inputs // groups)),
    )
    checkpoint = load_checkpoint(tmp_path)
    for name, values in wanted.items():
        assert torch.equal(checkpoint.tensor(name).double(), values), name


def test_a_zero_of_zero_survives_the_first_gptq_format(tmp_path: Path) -> None:
    """Stored less one, it borrows from its neighbour in the word, and gives back when one is added to the whole word."""

    def borrow(codes: Ints, zeros: Ints, scales: torch.Tensor) -> dict[str, torch.Tensor]:
        parts = gptq_v2(codes, zeros, scales)
        return parts | {"qzeros": parts["qzeros"] - 0x11111111}

    wanted = write(tmp_path, borrow, 32, GPTQ)
    checkpoint = load_checkpoint(tmp_path)
    for name, values in wanted.items():
        assert torch.equal(checkpoint.tensor(name).double(), values), name


@pytest.mark.parametrize(
    ("size", "group_of", "said"),
    [
        pytest.param(16, None, "GPTQ in groups of 16", id="small-groups"),
        pytest.param(
            32, lambda inputs, groups: np.arange(inputs) % groups, "order of activation", id="g_idx"
        ),
        pytest.param(32, None, None, id="kept"),
    ],
)
def test_codes_that_cannot_be_kept_are_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, size: int, group_of: Any, said: str | None
) -> None:
    write(tmp_path, gptq, size, GPTQ | {"group_size": size}, lowest_zero=1, group_of=group_of)
    checkpoint = load_checkpoint(tmp_path)
    names = [name for name in checkpoint.names() if name.endswith("_proj.weight")]
    with caplog.at_level("INFO", logger="inference"):
        kept = [checkpoint.grouped(name) is not None for name in names]
    assert set(kept) == {said is None}
    assert len(caplog.messages) == (said is not None)
    assert said is None or said in caplog.text


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"bits": 8}, "8 bits"),
        ({"quant_method": "bitsandbytes"}, "bitsandbytes"),
        ({"quant_method": "compressed-tensors"}, "compressed-tensors"),
        ({"checkpoint_format": "marlin"}, "marlin"),
        ({"is_marlin_format": True}, "marlin"),
        ({"group_size": 0}, "groups of 0"),
        ({"dynamic": {"-:.*": {}}}, "layer to layer"),
        ({"quant_method": "awq", "version": "gemv_fast"}, "gemv_fast"),
        ({"quant_method": "awq", "backend": "llm-awq"}, "llm-awq"),
        ({"quant_method": "awq", "zero_point": False}, "zero points"),
    ],
)
def test_other_ways_to_quantize_are_refused_by_name(
    tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    save_folder(make_model("qwen2", **SHAPE), tmp_path, quantization_config=GPTQ | change)
    with pytest.raises(UnsupportedCheckpoint, match=said):
        load_checkpoint(tmp_path)


NAME = "model.layers.0.mlp.up_proj"


@pytest.mark.parametrize(
    ("part", "harm"),
    [
        ("scales", lambda tensor: tensor[:1]),
        ("scales", None),
        ("qzeros", lambda tensor: tensor[:, :-1]),
        ("qweight", lambda tensor: tensor.long()),
        ("qweight", lambda tensor: tensor.flatten()),
        ("g_idx", lambda tensor: torch.full((64,), 2, dtype=torch.int32)),
    ],
)
def test_parts_that_do_not_fit_each_other_are_refused(tmp_path: Path, part: str, harm: Any) -> None:
    write(tmp_path, gptq, 32, GPTQ, lowest_zero=1)
    tensors = load_file(tmp_path / "model.safetensors")
    part = f"{NAME}.{part}"
    found = tensors.pop(part, None)
    if harm is not None:
        tensors[part] = harm(found).contiguous()
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(WeightsCorrupt, match="up_proj"):
        load_checkpoint(tmp_path).tensor(f"{NAME}.weight")


def test_settings_that_lie_about_the_group_size_are_refused(tmp_path: Path) -> None:
    write(tmp_path, gptq, 32, GPTQ, lowest_zero=1)
    config = json.loads((tmp_path / "config.json").read_text("utf-8"))
    config["quantization_config"]["group_size"] = 16
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(WeightsCorrupt, match=r"scales|qzeros"):
        load_checkpoint(tmp_path).tensor(f"{NAME}.weight")
