"""Packs weights into the panels that the compiled kernels read.

int8: one scale per output channel; stored with 128 added, as ``[out/32][in/4][32][4]``. bf16: as
``[out/32][in/2][32][2]``. int4: codes, with a scale and a zero point or minimum per group of inputs; see ``kernels.h``. The activations are quantized by the kernels, in groups of 64 inputs with a scale each:
on SmolLM2-135M that costs a third of the perplexity that one scale per token costs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor

from inference.kernels import pages
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
from inference.quantization.int8 import quantize_rows

PanelFormat = Literal["int8", "bf16"]
ROWS_AT_ONCE = 1024
OFFSET = 128

RowReader = Callable[[int, int], Tensor]
"""Rows ``first .. last - 1`` of a weight, fp32 ``[last - first, in]``."""


def padded(rows: Tensor) -> Tensor:
    """Rows of whole panels: those given, and zeros."""
    missing = -len(rows) % PANEL
    return torch.cat((rows, rows.new_zeros(missing, *rows.shape[1:]))) if missing else rows


class _Panels:
    """A packed weight, as the kernels see it; ``n`` counts the padding rows at its end, whose outputs are zero."""

    def __init__(self, tensors: Mapping[str, Tensor | None], **numbers: int) -> None:
        """Under the names of :class:`Linear`."""
        self.n, self.k = numbers["n"], numbers["k"]
        self._numbers = numbers
        self._tensors = {name: tensor for name, tensor in tensors.items() if tensor is not None}

    @property
    def struct(self) -> Linear:
        """For the kernels; valid while this object lives."""
        return Linear(**self._numbers, **{name: address(tensor) for name, tensor in self._tensors.items()})

    @property
    def nbytes(self) -> int:
        """Bytes of weight, scales, offsets and bias."""
        return sum(tensor.nbytes for tensor in self._tensors.values())


class PanelLinear(_Panels):
    """A weight in int8 or bf16."""

    def __init__(
        self, read: RowReader, shape: tuple[int, int], weight_format: PanelFormat, bias: Tensor | None = None
    ) -> None:
        """``shape`` is ``(out, in)``; ``bias`` fp32 ``[out]``. Rows are read a thousand at a time, so that
        packing needs little memory beside its result. Raises ``ValueError`` when ``in`` is no multiple of
        the group."""
        rows, k = shape
        if k % GROUP:
            raise ValueError(f"a layer has {k} inputs, no multiple of {GROUP}")
        panels, self.format = -(-rows // PANEL), weight_format
        code, lanes, dtype = (INT8, 4, torch.uint8) if weight_format == "int8" else (BF16, 2, torch.bfloat16)
        self._weight = pages.zeros((panels, k // lanes, PANEL, lanes), dtype)
        self._scale = torch.zeros(panels * PANEL if weight_format == "int8" else 0)
        for first in range(0, rows, ROWS_AT_ONCE):
            self._pack(padded(read(first, min(rows, first + ROWS_AT_ONCE))), first)
        tensors = {
            "weight": self._weight,
            "scale": self._scale,
            "bias": None if bias is None else padded(bias),
        }
        super().__init__(tensors, format=code, n=panels * PANEL, k=k)

    def _pack(self, values: Tensor, first: int) -> None:
        if self.format == "int8":
            quantized, scale = quantize_rows(values)
            self._scale[first : first + len(values)] = scale.squeeze(1)
            stored = quantized.view(torch.uint8).bitwise_xor_(OFFSET)
        else:
            stored = values.to(torch.bfloat16)
        _, groups, _, lanes = self._weight.shape
        panels = stored.view(-1, PANEL, groups, lanes).transpose(1, 2)
        self._weight[first // PANEL :][: len(panels)] = panels

    def gather(self, ids: Tensor) -> Tensor:
        """Rows ``ids`` of the weight as fp32 ``[len(ids), in]``: an embedding read from the packed output
        layer."""
        words = self._weight.view(torch.int32).squeeze(-1)  # the lanes of a column, taken as one
        taken = words[ids // PANEL, :, ids % PANEL].contiguous().view(self._weight.dtype).float()
        if self.format == "bf16":
            return taken
        return taken.sub_(OFFSET).mul_(self._scale[ids].unsqueeze(1))


class GroupedPanelLinear(_Panels):
    """A weight in 4 bits."""

    def __init__(self, weight: GroupedWeight, bias: Tensor | None = None) -> None:
        """``bias`` fp32 ``[out]``. Raises ``ValueError`` when the inputs are no whole groups."""
        size, (rows, k) = weight.group_size, weight.codes.shape
        if k % max(GROUP, size):
            raise ValueError(f"a layer has {k} inputs, no multiple of {size} and {GROUP}")
        steps = weight.coding == "steps"
        levels, offsets = (
            padded(part).view(-1, PANEL, k // size).transpose(1, 2)
            for part in (weight.levels, weight.offsets)
        )
        tensors = {
            "weight": pages.copied(_halves(padded(weight.codes).view(-1, PANEL, k // 4, 4).transpose(1, 2))),
            "scale": padded(torch.ones(rows) if weight.row is None else weight.row),
            "bias": None if bias is None else padded(bias),
            "levels": (levels if steps else levels.half()).contiguous(),
            "offsets": _halves(offsets) if steps else offsets.half().contiguous(),
        }
        code = INT4 if size % GROUP == 0 else INT4_FINE
        coding = {"steps": STEPS, "zeros": ZEROS, "minima": MINIMA}[weight.coding]
        super().__init__(tensors, format=code, n=len(levels) * PANEL, k=k, group=size, coding=coding)


def _halves(values: Tensor) -> Tensor:
    """``[panels, m, 32, ...]`` of 0 to 15 -> ``[panels, m, 16, ...]``: column c low, column c + 16 high."""
    return (values[:, :, : PANEL // 2] | (values[:, :, PANEL // 2 :] << 4)).contiguous()


def from_tensor(weight: Tensor) -> RowReader:
    """Reads rows of a tensor ``[out, in]`` that is there already."""
    return lambda first, last: weight[first:last]


def interleave(parts: Sequence[Tensor]) -> Tensor:
    """Gate and up, ``[ffn, ...]`` each -> ``[2 ffn, ...]``: sixteen rows of one, the same sixteen of the other, and so
    on."""
    rest = parts[0].shape[1:]
    return torch.stack([part.view(-1, PANEL // 2, *rest) for part in parts], dim=1).reshape(-1, *rest)
