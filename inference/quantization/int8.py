"""W8A8: weights in int8 with one scale per output channel, activations in int8 with one scale per row
(token).

Sums are exact int32, and every other operation is element-wise on one row, so that a row's result has
the same bits whatever else is in the batch. Scales per tensor would be cheaper and are refused: a
neighbour would change the result."""

from __future__ import annotations

import torch
from torch import Tensor

LEVELS = 127.0
SMALLEST = 1e-12
CUDA_MIN_ROWS = 17


def quantize_rows(values: Tensor) -> tuple[Tensor, Tensor]:
    """Symmetric int8 per row: fp32 ``[n, k]`` -> (int8 ``[n, k]``, fp32 scales ``[n, 1]``)."""
    scale = values.abs().amax(dim=1, keepdim=True).clamp_min(SMALLEST) / LEVELS
    return (values / scale).round_().to(torch.int8), scale


class Int8Linear:
    """An int8 weight; torch's integer product wants it transposed."""

    def __init__(self, weight: Tensor, bias: Tensor | None, device: str) -> None:
        """``weight`` fp32 ``[out, in]``, ``bias`` fp32 ``[out]``; both are copied to ``device``."""
        quantized, scale = quantize_rows(weight)
        self._weight, self._scale = quantized.to(device), scale.t().to(device)
        self._bias = None if bias is None else bias.to(device)

    def __call__(self, x: Tensor) -> Tensor:
        quantized, scale = quantize_rows(x)
        rows = len(quantized)
        if x.is_cuda and rows < CUDA_MIN_ROWS:
            quantized = torch.nn.functional.pad(quantized, (0, 0, 0, CUDA_MIN_ROWS - rows))
        sums = torch._int_mm(quantized, self._weight.t())[:rows]
        out = sums.to(torch.float32) * scale * self._scale
        return out if self._bias is None else out + self._bias


class Int8Method:
    """Quantizes fp32 weights once, when they are packed."""

    def __init__(self, device: str) -> None:
        self._device = device

    def pack(self, weight: Tensor, bias: Tensor | None) -> Int8Linear:
        return Int8Linear(weight, bias, self._device)
