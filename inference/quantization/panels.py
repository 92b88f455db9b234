"""Packs weights into the panels that the compiled kernels read.

int8: one scale per output channel; stored with 128 added, as ``[out/32][in/4][32][4]``. bf16: as
``[out/32][in/2][32][2]``. int4: codes, with a scale and a zero point or minimum per group of inputs; see ``kernels.h``. The activations are quantized by the kernels, in groups of 64 inputs with a scale each:
on SmolLM2-135M that costs a third of the perplexity that one scale per token costs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor

from inference.kernels.library import (
    BF16,
    GROUP,
    INT4,
    INT4_FINE,
    INT8,
    MINIMA,
    PANEL,
    STEPS,
    ZEROS,
    Linear,
    address,
)
from inference.quantization.int4 import GroupedWeight

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


class GroupedPanelLinear:
    """A weight in 4 bits in panels; ``n`` counts the padding rows at its end, whose outputs are zero."""

    def __init__(self, weight: GroupedWeight, bias: Tensor | None = None) -> None:
        """``bias`` fp32 ``[out]``. Raises ``ValueError`` when the inputs are no whole groups."""
        self.rows, self.k = weight.codes.shape
        if self.k % max(GROUP, weight.group_size):
            raise ValueError(f"a layer has {self.k} inputs, no multiple of {weight.group_size} and {GROUP}")
        self.n, self._group = padded(self.rows), weight.group_size
        lanes = self._panels(weight.codes).view(-1, PANEL, self.k // 4, 4).transpose(1, 2)
        self._weight = _halves(lanes)
        self._levels, self._offsets = (
            self._panels(part).view(-1, PANEL, self.k // self._group).transpose(1, 2).contiguous()
            for part in (weight.levels, weight.offsets)
        )
        self._coding = {"steps": STEPS, "zeros": ZEROS, "minima": MINIMA}[weight.coding]
        if self._coding == STEPS:
            self._offsets = _halves(self._offsets)
        else:
            self._levels, self._offsets = self._levels.half(), self._offsets.half()
        self._scale = self._panels(torch.ones(self.rows) if weight.row is None else weight.row)
        self._bias = None if bias is None else self._panels(bias)

    def _panels(self, rows: Tensor) -> Tensor:
        whole = torch.zeros(self.n, *rows.shape[1:], dtype=rows.dtype)
        whole[: self.rows] = rows
        return whole

    @property
    def struct(self) -> Linear:
        """For the kernels; valid while this object lives."""
        bias = None if self._bias is None else address(self._bias)
        code = INT4 if self._group % GROUP == 0 else INT4_FINE
        parts = [address(part) for part in (self._weight, self._scale, self._levels, self._offsets)]
        return Linear(code, self.n, self.k, *parts[:2], bias, self._group, self._coding, *parts[2:])

    @property
    def nbytes(self) -> int:
        """Bytes of codes, scales, offsets and bias."""
        parts = [self._weight, self._scale, self._levels, self._offsets]
        return sum(part.nbytes for part in [*parts, *([] if self._bias is None else [self._bias])])


def _halves(values: Tensor) -> Tensor:
    """``[panels, m, 32, ...]`` of 0 to 15 -> ``[panels, m, 16, ...]``: column c low, column c + 16 high."""
    return (values[:, :, : PANEL // 2] | (values[:, :, PANEL // 2 :] << 4)).contiguous()


def from_tensor(weight: Tensor) -> RowReader:
    """Reads rows of a tensor ``[out, in]`` that is there already."""
    return lambda first, last: weight[first:last]


def interleave(gate: Tensor, up: Tensor) -> Tensor:
    """``[ffn, ...]`` twice -> ``[2 ffn, ...]``: sixteen rows of ``gate``, the same sixteen of ``up``, and so on."""
    shape = (-1, PANEL // 2, *gate.shape[1:])
    return torch.stack((gate.view(shape), up.view(shape)), dim=1).reshape(-1, *gate.shape[1:])


def joined_bias(biases: Sequence[Tensor | None], sizes: Sequence[int]) -> Tensor | None:
    """Biases side by side, zeros where there is none; None when there is none at all."""
    if all(bias is None for bias in biases):
        return None
    return torch.cat(
        [torch.zeros(size) if bias is None else bias for bias, size in zip(biases, sizes, strict=True)]
    )
