"""How a linear layer keeps its weight and multiplies by it: one interface, one method per number format.

What always holds: a row of the output depends on the same row of the input alone; no format lets its
neighbours in a batch choose a scale for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from inference.errors import InvalidRequest

WeightFormat = Literal["fp32", "bf16", "int8", "int4"]
PackedLinear = Callable[[Tensor], Tensor]
"""Multiplies by a weight in the layout that its kernel reads. ``x [n, in] -> [n, out]``, fp32 in and out."""


class LinearMethod(Protocol):
    """Packs weights of one number format for one device."""

    def pack(self, weight: Tensor, bias: Tensor | None) -> PackedLinear:
        """``weight [out, in]`` and ``bias [out]``, fp32 on any device; neither is kept when the format
        differs."""
        ...


class DenseMethod:
    """fp32 or bf16 weights through torch's own kernels."""

    def __init__(self, dtype: torch.dtype, device: str) -> None:
        self._dtype, self._device = dtype, device

    def pack(self, weight: Tensor, bias: Tensor | None) -> PackedLinear:
        moved = weight.to(self._device, self._dtype).contiguous()
        moved_bias = None if bias is None else bias.to(self._device, self._dtype)
        return lambda x: functional.linear(x.to(moved.dtype), moved, moved_bias).to(x.dtype)


def linear_method(weight_format: WeightFormat, device: str) -> LinearMethod:
    """The best method for a format on a device. Raises ``InvalidRequest`` for a format that does not
    exist."""
    from inference.quantization.int4 import Int4Method
    from inference.quantization.int8 import Int8Method

    match weight_format:
        case "fp32":
            return DenseMethod(torch.float32, device)
        case "bf16":
            return DenseMethod(torch.bfloat16, device)
        case "int8":
            return Int8Method(device)
        case "int4":
            return Int4Method(device)
    raise InvalidRequest(f"There is no weight format {weight_format!r}.")
