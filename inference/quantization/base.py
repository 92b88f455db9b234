"""How a linear layer keeps its weight and multiplies by it: one interface, one method per number format.

What always holds: a row of the output depends on the same row of the input alone; no format lets its
neighbours in a batch choose a scale for it."""

from __future__ import annotations

from typing import Literal, Protocol

import torch
from torch.nn import functional

from inference.errors import InvalidRequest

WeightFormat = Literal["fp32", "bf16", "int8", "int4"]


class PackedLinear(Protocol):
    """A weight in the layout that its kernel reads. ``x [n, in] -> [n, out]``, fp32 in and out."""

    in_features: int
    out_features: int

    def __call__(self, x: torch.Tensor) -> torch.Tensor: ...

    @property
    def nbytes(self) -> int:
        """Bytes that the packed weight occupies."""
        ...


class LinearMethod(Protocol):
    """Packs weights of one number format for one device."""

    def pack(self, weight: torch.Tensor, bias: torch.Tensor | None) -> PackedLinear:
        """``weight [out, in]`` and ``bias [out]``, fp32 on any device; neither is kept when the format
        differs."""
        ...


class DenseLinear:
    """A floating-point weight, multiplied in its own dtype."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        self.out_features, self.in_features = weight.shape
        self._weight = weight
        self._bias = bias

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return functional.linear(x.to(self._weight.dtype), self._weight, self._bias).to(x.dtype)

    @property
    def nbytes(self) -> int:
        return self._weight.nbytes + (self._bias.nbytes if self._bias is not None else 0)


class DenseMethod:
    """fp32 or bf16 weights through torch's own kernels."""

    def __init__(self, dtype: torch.dtype, device: str) -> None:
        self._dtype = dtype
        self._device = torch.device(device)

    def pack(self, weight: torch.Tensor, bias: torch.Tensor | None) -> PackedLinear:
        moved = weight.to(self._device, self._dtype).contiguous()
        return DenseLinear(moved, bias.to(self._device, self._dtype) if bias is not None else None)


def linear_method(weight_format: WeightFormat, device: str) -> LinearMethod:
    """The best method for a format on a device. Raises ``InvalidRequest`` for a format that does not
    exist."""
    if weight_format == "fp32":
        return DenseMethod(torch.float32, device)
    if weight_format == "bf16":
        return DenseMethod(torch.bfloat16, device)
    if weight_format == "int8":
        from inference.quantization.int8 import Int8Method

        return Int8Method(device)
    if weight_format == "int4":
        from inference.quantization.int4 import Int4Method

        return Int4Method(device)
    raise InvalidRequest(f"There is no weight format {weight_format!r}.")
