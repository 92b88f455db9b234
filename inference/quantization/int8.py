"""W8A8: weights in int8 with one scale per output channel, activations in int8 with one scale per row
(token).

Sums are exact int32, and every other operation is element-wise on one row, so that a row's result has
the same bits whatever else is in the batch. Scales per tensor would be cheaper and are refused: a
neighbour would change the result."""

from __future__ import annotations

import torch

from inference.quantization.base import PackedLinear

LEVELS = 127.0
SMALLEST = 1e-12
CUDA_MIN_ROWS = 17


def quantize_rows(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Symmetric int8 per row: fp32 ``[n, k]`` -> (int8 ``[n, k]``, fp32 scales ``[n, 1]``)."""
    scale = values.abs().amax(dim=1, keepdim=True).clamp_min(SMALLEST) / LEVELS
    return torch.round(values / scale).to(torch.int8), scale


class Int8Linear:
    """An int8 weight, kept transposed as torch's integer product wants it."""

    def __init__(self, weight: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor | None) -> None:
        """``weight`` int8 ``[out, in]``, ``scale`` fp32 ``[out]``, ``bias`` fp32 ``[out]`` or none."""
        self.out_features, self.in_features = weight.shape
        self._weight = weight
        self._transposed = weight.t()
        self._scale = scale.reshape(1, -1)
        self._bias = bias

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        quantized, scale = quantize_rows(x)
        rows = len(quantized)
        if x.is_cuda and rows < CUDA_MIN_ROWS:
            quantized = torch.nn.functional.pad(quantized, (0, 0, 0, CUDA_MIN_ROWS - rows))
        sums = torch._int_mm(quantized, self._transposed)[:rows]
        out = sums.to(torch.float32) * scale * self._scale
        return out + self._bias if self._bias is not None else out

    @property
    def nbytes(self) -> int:
        bias = self._bias.nbytes if self._bias is not None else 0
        return self._weight.nbytes + self._scale.nbytes + bias


class Int8Method:
    """Quantizes fp32 weights once, when they are packed."""

    def __init__(self, device: str) -> None:
        self._device = torch.device(device)

    def pack(self, weight: torch.Tensor, bias: torch.Tensor | None) -> PackedLinear:
        quantized, scale = quantize_rows(weight.to(torch.float32))
        moved_bias = bias.to(self._device, torch.float32) if bias is not None else None
        return Int8Linear(
            quantized.to(self._device).contiguous(), scale.reshape(-1).to(self._device), moved_bias
        )
