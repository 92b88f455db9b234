"""What a checkpoint has in 4 bits keeps its codes in our int4; anything else is rounded within half a step."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from torch import Tensor

from inference.loading.gguf import GgufFile
from inference.quantization.base import linear_method
from inference.quantization.int4 import GroupedWeight, fits, join, merge, quantize_grouped


def random(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(5)) / 20


def stored(group_size: int, inputs: int = 256) -> GroupedWeight:
    chance = torch.Generator().manual_seed(group_size)
    groups = -(-inputs // group_size)
    return GroupedWeight(
        torch.randint(0, 16, (8, inputs), generator=chance, dtype=torch.uint8),
        torch.rand(8, groups, generator=chance).half(),
        torch.randint(0, 16, (8, groups), generator=chance, dtype=torch.uint8),
        group_size,
        "zeros",
    )


def never(index: int) -> Tensor:
    raise AssertionError(f"matrix {index} was quantized anew")


@pytest.mark.parametrize("group_size", [32, 64, 128, 256])
def test_fused_matrices_keep_their_codes(group_size: int) -> None:
    parts = [stored(group_size), stored(group_size)]
    fused = merge(join(parts, never), torch.cat)
    assert torch.equal(fused.dequantize(), torch.cat([part.dequantize() for part in parts]))


@pytest.mark.parametrize("weight", [stored(16), stored(96), stored(192)])
def test_groups_that_the_kernels_do_not_know_are_quantized_anew(weight: GroupedWeight) -> None:
    assert not fits(weight)
    (again,) = join([weight], lambda _: weight.dequantize())
    assert again.coding == "steps"


def test_scales_that_fp16_cannot_hold_are_quantized_anew() -> None:
    weight = stored(64)
    fine = GroupedWeight(weight.codes, weight.levels.float() * 1.0001, weight.offsets, 64, "zeros")
    assert fits(weight)
    assert not fits(fine)


def test_matrices_of_two_group_sizes_are_quantized_anew_together() -> None:
    parts = [stored(64), stored(128)]
    assert {part.coding for part in join(parts, lambda i: parts[i].dequantize())} == {"steps"}


@pytest.mark.parametrize("kind", ["Q4_0", "Q4_1"])
def test_the_types_of_gguf_in_four_bits_lose_nothing(tmp_path: Path, kind: str) -> None:
    file = write(tmp_path, kind)
    codes = file.codes("w")
    assert codes is not None
    weight = GroupedWeight(codes[0], codes[1].half(), codes[2].half(), 32, "minima")
    assert torch.equal(weight.dequantize(), file.tensor("w"))


def test_q4_k_keeps_its_codes_and_rounds_its_scales(tmp_path: Path) -> None:
    file = write(tmp_path, "Q4_K")
    codes = file.codes("w")
    assert codes is not None
    exact = GroupedWeight(codes[0], codes[1], codes[2], 32, "minima")
    assert torch.allclose(exact.dequantize(), file.tensor("w"), atol=1e-6)
    halved = GroupedWeight(codes[0], codes[1].half(), codes[2].half(), 32, "minima")
    error = (halved.dequantize() - file.tensor("w")).abs()
    scales, minima = (part.abs().repeat_interleave(32, dim=1) for part in codes[1:])
    assert bool((error <= (15 * scales + minima) * 2**-11 + 1e-7).all())


def test_other_types_have_no_codes(tmp_path: Path) -> None:
    assert write(tmp_path, "Q8_0").codes("w") is None


def write(folder: Path, kind: str) -> GgufFile:
    """A file with a matrix ``w [8, 512]`` of that type."""
    quantization = gguf.GGMLQuantizationType[kind]
    block, size = gguf.GGML_QUANT_SIZES[quantization]
    if kind == "Q4_K":  # which the package reads and does not write
        raw = np.random.default_rng(2).integers(0, 256, (8, 512 // block * size), dtype=np.uint8)
        raw.reshape(8, -1, size)[:, :, :4] = np.frombuffer(
            np.array([0.01, 0.02], np.float16).tobytes(), np.uint8
        )
    else:
        raw = gguf.quantize(random(8, 512).numpy(), quantization)
    writer = gguf.GGUFWriter(folder / "m.gguf", "llama")
    writer.add_tensor("w", raw, raw_dtype=quantization)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return GgufFile(folder / "m.gguf")


@pytest.mark.parametrize(("coding", "size"), [("steps", 64), ("minima", 32)])
def test_rounding_stays_within_half_a_step(coding: str, size: int) -> None:
    weight = random(40, 256) * torch.logspace(-2, 2, 40).unsqueeze(1)
    weight[3] = 0.0
    weight[4, :64] = 0.0
    grouped = quantize_grouped(weight, coding, size)  # type: ignore[arg-type]
    step = grouped.levels.float() * (1.0 if grouped.row is None else grouped.row.unsqueeze(1))
    error = (grouped.dequantize() - weight).abs()
    assert bool((error <= step.repeat_interleave(size, dim=1) * (0.51 if coding == "minima" else 1.0)).all())
    assert float((error.norm(dim=1) / weight.norm(dim=1).clamp_min(1e-9)).max()) < 0.15
    assert float(error[3].max()) < 1e-6


def test_torch_multiplies_by_the_same_values() -> None:
    weight, bias, x = random(24, 128), random(24), random(5, 128)
    linear = linear_method("int4", "cpu").pack(weight, bias)
    assert torch.allclose(linear(x), x @ quantize_grouped(weight).dequantize().t() + bias, atol=1e-6)
    tensors = vars(linear)["_weight"].tensors
    assert sum(part.nbytes for part in tensors) == 24 * 128 // 2 + 24 * 2 * 2 + 24 * 4
