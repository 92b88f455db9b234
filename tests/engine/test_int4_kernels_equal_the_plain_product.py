"""The int4 kernels give the product of the dequantized weight and of the rounded activations, for each way in which
a group says its scale, each number of rows and each instruction set."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from inference.attention.torch_cpu import TorchPagedAttention
from inference.kernels.library import GROUP, Team
from inference.model.decoder import Decoder
from inference.quantization.base import linear_method
from inference.quantization.int4 import GroupedWeight, quantize_grouped
from inference.quantization.panels import GroupedPanelLinear
from tests.engine.test_compiled_kernels_compute_the_decoder import SETS, WIDE, native, run, tokens
from tests.engine.tiny import make_checkpoint

OUT, INPUTS = 100, 384


def random(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


def whole_numbers(*shape: int) -> Tensor:
    return torch.randint(0, 16, shape, generator=torch.Generator().manual_seed(1), dtype=torch.uint8)


def stored(group_size: int) -> GroupedWeight:
    groups = INPUTS // group_size
    scales = random(OUT, groups).abs().mul(0.01).half()
    return GroupedWeight(whole_numbers(OUT, INPUTS), scales, whole_numbers(OUT, groups), group_size, "zeros")


WEIGHTS = {
    "steps-64": lambda: quantize_grouped(random(OUT, INPUTS) * 0.05),
    "minima-32": lambda: quantize_grouped(random(OUT, INPUTS) * 0.05, "minima", 32),
    "zeros-32": lambda: stored(32),
    "zeros-64": lambda: stored(64),
    "zeros-128": lambda: stored(128),
    "zeros-whole": lambda: stored(INPUTS),
}


def rounded(x: Tensor) -> Tensor:
    """What int8 with a scale per 64 inputs leaves of activations."""
    groups = x.view(len(x), -1, GROUP)
    scale = groups.abs().amax(-1, keepdim=True) / 127
    return ((groups / scale).round() * scale).view(x.shape)


@pytest.mark.parametrize("instructions", SETS)
@pytest.mark.parametrize("kind", WEIGHTS)
def test_each_coding_for_each_number_of_rows(kind: str, instructions: str) -> None:
    weight, bias = WEIGHTS[kind](), random(OUT)
    team = Team(2, instructions)  # type: ignore[arg-type]
    packed = GroupedPanelLinear(weight, bias)
    values = weight.dequantize().double()
    for rows in (1, 2, 3, 4, 5, 6, 7, 25):
        x = random(rows, INPUTS)
        got = team.linear(packed.struct, x)
        wanted = rounded(x).double() @ values.t() + bias
        assert float((got[:, :OUT] - wanted).abs().max() / wanted.abs().max()) < 1e-5, rows
        assert not got[:, OUT:].any(), "padding"
        x[1:] *= 1_000.0
        assert torch.equal(team.linear(packed.struct, x)[0], got[0]), "a neighbour changed a row"


@pytest.mark.parametrize("instructions", SETS)
def test_the_largest_sums_do_not_overflow(instructions: str) -> None:
    codes, levels = torch.full((32, INPUTS), 15, dtype=torch.uint8), torch.ones(32, INPUTS // 64).half()
    packed = GroupedPanelLinear(GroupedWeight(codes, levels, torch.zeros_like(levels), 64, "zeros"))
    got = Team(1, instructions).linear(packed.struct, -torch.ones(6, INPUTS))  # type: ignore[arg-type]
    assert torch.allclose(got, torch.tensor(-15.0 * INPUTS), rtol=1e-6)


@pytest.mark.parametrize("family", ["llama", "qwen2"])
def test_a_decoder_in_int4_is_torchs_with_the_same_codes(family: str) -> None:
    """What differs is the rounding of activations and of the cache."""
    checkpoint, ids = make_checkpoint(family, **WIDE), tokens(120)
    attention = TorchPagedAttention(checkpoint.config, num_blocks=16, block_size=16, device="cpu")
    decoder = Decoder(checkpoint, linear_method("int4", "cpu"), attention, max_positions=200)
    wanted = run(decoder, ids, range(8), [120])
    got = run(native(checkpoint, "int4"), ids, range(8), [120])
    assert float((got - wanted).norm() / wanted.norm()) < 0.08
