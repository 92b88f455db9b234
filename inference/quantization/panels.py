"""Packs weights into the panels that the compiled kernels read.

int8: one scale per output channel; stored with 128 added, as ``[out/32][in/4][32][4]``. bf16: as
``[out/32][in/2][32][2]``. The activations are quantized by the kernels, in groups of 64 inputs with a scale each:
on SmolLM2-135M that costs a third of the perplexity that one scale per token costs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor

from inference.kernels.library import BF16, GROUP, INT8, PANEL, Linear, address

PanelFormat = Literal["int8", "bf16"]
ROWS_AT_ONCE = 4096
OFFSET = 128
LEVELS = 127.0
SMALLEST = 1e-12

RowReader = Callable[[int, int], Tensor]
"""Rows ``first .. last - 1`` of a weight, fp32 ``[last - first, in]``."""


def padded(rows: int) -> int:
    """Rows of whole panels."""
    return -(-rows // PANEL) * PANEL


class PanelLinear:
    """A packed weight; ``n`` counts the padding rows at its end, whose outputs are zero."""

    def __init__(
        self, read: RowReader, shape: tuple[int, int], weight_format: PanelFormat, bias: Tensor | None = None
    ) -> None:
        """``shape`` is ``(out, in)``; ``bias`` fp32 ``[out]``. Rows are read a few thousand at a time, so that
        packing needs little memory beside its result. Raises ``ValueError`` when ``in`` is no multiple of
        the group."""
        rows, self.k = shape
        if self.k % GROUP:
            raise ValueError(f"a layer has {self.k} inputs, no multiple of {GROUP}")
        self.format = weight_format
        self.rows, self.n = rows, padded(rows)
        lanes, dtype, filler = (4, torch.uint8, OFFSET) if weight_format == "int8" else (2, torch.bfloat16, 0)
        self._weight = torch.full((self.n // PANEL, self.k // lanes, PANEL, lanes), filler, dtype=dtype)
        self._scale = torch.zeros(self.n)
        self._bias = None
        if bias is not None:
            self._bias = torch.zeros(self.n)
            self._bias[:rows] = bias
        for first in range(0, rows, ROWS_AT_ONCE):
            last = min(rows, first + ROWS_AT_ONCE)
            self._pack(read(first, last), first)

    def _pack(self, values: Tensor, first: int) -> None:
        if self.format == "int8":
            scale = values.abs().amax(dim=1).clamp_min(SMALLEST) / LEVELS
            self._scale[first : first + len(values)] = scale
            stored = values.div(scale.unsqueeze(1)).round_().add_(OFFSET).to(torch.uint8)
        else:
            stored = values.to(torch.bfloat16)
        panels, lanes = self._weight[first // PANEL :], self._weight.shape[-1]
        whole = len(values) // PANEL
        laid = stored[: whole * PANEL].view(whole, PANEL, self.k // lanes, lanes)
        panels[:whole].copy_(laid.transpose(1, 2))
        rest = stored[whole * PANEL :]
        if len(rest):
            panels[whole, :, : len(rest)].copy_(rest.view(len(rest), self.k // lanes, lanes).transpose(0, 1))

    def gather(self, ids: Tensor) -> Tensor:
        """Rows ``ids`` of the weight as fp32 ``[len(ids), in]``: an embedding read from the packed output
        layer."""
        taken = self._weight[ids // PANEL, :, ids % PANEL].reshape(len(ids), self.k).float()
        if self.format == "bf16":
            return taken
        return taken.sub_(OFFSET).mul_(self._scale[ids].unsqueeze(1))

    @property
    def struct(self) -> Linear:
        """For the kernels; valid while this object lives."""
        bias = None if self._bias is None else address(self._bias)
        code = INT8 if self.format == "int8" else BF16
        return Linear(code, self.n, self.k, address(self._weight), address(self._scale), bias)

    @property
    def nbytes(self) -> int:
        """Bytes of weight, scales and bias."""
        parts = [self._weight, self._scale, *([] if self._bias is None else [self._bias])]
        return sum(part.nbytes for part in parts)


def from_tensor(weight: Tensor) -> RowReader:
    """Reads rows of a tensor ``[out, in]`` that is there already."""
    return lambda first, last: weight[first:last]


def interleave(gate: Tensor, up: Tensor) -> Tensor:
    """``[ffn, in]`` twice -> ``[2 ffn, in]``: sixteen rows of ``gate``, the same sixteen of ``up``, and so on."""
    half, inputs = PANEL // 2, gate.shape[1]
    return torch.stack((gate.view(-1, half, inputs), up.view(-1, half, inputs)), dim=1).reshape(-1, inputs)


def joined_bias(biases: Sequence[Tensor | None], sizes: Sequence[int]) -> Tensor | None:
    """Biases side by side, zeros where there is none; None when there is none at all."""
    if all(bias is None for bias in biases):
        return None
    return torch.cat(
        [torch.zeros(size) if bias is None else bias for bias, size in zip(biases, sizes, strict=True)]
    )
