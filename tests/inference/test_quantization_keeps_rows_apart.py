from __future__ import annotations

import pytest
import torch

from inference.errors import InvalidRequest
from inference.quantization.base import linear_method


def kept(linear: object) -> int:
    """Bytes of the tensors that a packed layer holds."""
    return sum(part.nbytes for part in vars(linear).values() if isinstance(part, torch.Tensor))


@pytest.fixture
def layer() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    return torch.randn(200, 576, generator=generator) / 24, torch.randn(200, generator=generator)


@pytest.mark.parametrize("rows", [1, 2, 3, 7, 16, 17, 33, 130])
def test_an_int8_row_has_the_same_bits_whatever_its_neighbours(
    layer: tuple[torch.Tensor, torch.Tensor], rows: int
) -> None:
    linear = linear_method("int8", "cpu").pack(*layer)
    x = torch.randn(rows, 576, generator=torch.Generator().manual_seed(rows))
    alone = linear(x[:1])[0]
    x[1:] *= 1_000.0
    assert torch.equal(linear(x)[0], alone)
    assert torch.equal(linear(x.flip(0))[-1], alone)


@pytest.mark.parametrize(("weight_format", "tolerance"), [("fp32", 1e-5), ("bf16", 0.03), ("int8", 0.03)])
def test_a_format_approximates_the_exact_product(
    layer: tuple[torch.Tensor, torch.Tensor], weight_format: str, tolerance: float
) -> None:
    weight, bias = layer
    linear = linear_method(weight_format, "cpu").pack(weight, bias)  # type: ignore[arg-type]
    x = torch.randn(40, 576, generator=torch.Generator().manual_seed(1))
    out = linear(x)
    exact = x.double() @ weight.double().T + bias.double()
    assert out.shape == (40, 200)
    assert out.dtype == torch.float32
    assert (out - exact).abs().max() / exact.abs().max() < tolerance


def test_int8_weights_take_a_quarter_of_the_bytes(layer: tuple[torch.Tensor, torch.Tensor]) -> None:
    assert kept(linear_method("int8", "cpu").pack(layer[0], None)) < layer[0].nbytes * 0.26


def test_zeros_stay_zeros(layer: tuple[torch.Tensor, torch.Tensor]) -> None:
    linear = linear_method("int8", "cpu").pack(layer[0], layer[1])
    assert torch.equal(linear(torch.zeros(3, 576)), layer[1].expand(3, -1))


def test_an_unknown_format_is_refused() -> None:
    with pytest.raises(InvalidRequest):
        linear_method("int3", "cpu")  # type: ignore[arg-type]
