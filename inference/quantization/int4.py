"""W4: weights in 4 bits, with a scale and a minimum for each run of inputs of an output channel.

What was in 4 bits already keeps its codes. Anything else is rounded to groups of 64 inputs, with a scale in a byte
(a share of the row's largest) and a zero point in half a byte: 4.19 bits a weight. The extremes of a group are kept:
scales that lessen the squared error by cutting them off made the perplexity worse.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

Coding = Literal["steps", "zeros", "minima"]
GROUP_SIZE = 64
FINE = 32
LEVELS = 15
SMALLEST = 1e-12


@dataclass(frozen=True, slots=True)
class GroupedWeight:
    """``weight[o, i] = row[o] * (scale[o, g] * codes[o, i] + minimum[o, g])`` with ``g = i // group_size``.

    ``codes`` uint8 ``[out, in]`` of 0 to 15; ``levels`` and ``offsets`` ``[out, groups]``, which ``coding`` reads:

    - ``steps``: uint8 scale, uint8 zero point of 0 to 15, minimum = -zero point * scale; fp32 ``row``
    - ``zeros``: fp16 scale, zero point in any dtype, minimum as above; no ``row``, which then is 1
    - ``minima``: fp16 scale, fp16 minimum; no ``row``
    """

    codes: Tensor
    levels: Tensor
    offsets: Tensor
    group_size: int
    coding: Coding
    row: Tensor | None = None

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        return (self.codes, self.levels, self.offsets, *([] if self.row is None else [self.row]))

    def dequantize(self, group_of: Tensor | None = None) -> Tensor:
        """fp32 ``[out, in]``; ``group_of`` int64 ``[in]`` says where groups are no runs. With zero points the values
        are exact: a product of an fp16 scale and a difference of codes."""
        if group_of is None:
            group_of = torch.arange(self.codes.shape[1], device=self.codes.device) // self.group_size
        scale, offset = self.levels.float()[:, group_of], self.offsets.float()[:, group_of]
        codes = self.codes.float()
        values = codes.mul_(scale).add_(offset) if self.coding == "minima" else codes.sub_(offset).mul_(scale)
        return values if self.row is None else values.mul_(self.row.unsqueeze(1))


def quantize_grouped(weight: Tensor, coding: Coding = "steps", group_size: int = GROUP_SIZE) -> GroupedWeight:
    """The nearest codes between the extremes of each group; ``weight`` fp32 ``[out, in]``, ``coding`` not ``zeros``.
    Groups are smaller where ``in`` is no multiple of their size."""
    out, inputs = weight.shape
    group_size = math.gcd(inputs, group_size)
    groups = weight.view(out, inputs // group_size, group_size)
    low, high = groups.amin(-1), groups.amax(-1)
    if coding == "steps":
        low, high = low.clamp_max(0.0), high.clamp_min(0.0)
    scale = (high - low).clamp_min(SMALLEST) / LEVELS
    if coding == "minima":
        scale, low = scale.half().clamp_min(1e-7), low.half()
        codes = (groups - low.float().unsqueeze(-1)).div_(scale.float().unsqueeze(-1))
        return GroupedWeight(_rounded(codes), scale, low, group_size, coding)
    row = scale.amax(1) / 255
    levels = (scale / row.unsqueeze(1)).ceil_().clamp_(1, 255)
    scale = levels * row.unsqueeze(1)
    zero = (-low / scale).round_().clamp_(0, LEVELS)
    codes = (groups / scale.unsqueeze(-1)).add_(zero.unsqueeze(-1))
    return GroupedWeight(
        _rounded(codes), levels.to(torch.uint8), zero.to(torch.uint8), group_size, coding, row
    )


def _rounded(codes: Tensor) -> Tensor:
    return codes.round_().clamp_(0, LEVELS).to(torch.uint8).flatten(1)


def fits(weight: GroupedWeight) -> bool:
    """Whether codes, scales and zero points can be kept as they are."""
    inputs, size = weight.codes.shape[1], weight.group_size
    exact = torch.equal(weight.levels.half().float(), weight.levels.float())
    return exact and inputs % size == 0 and (size % GROUP_SIZE == 0 or size == FINE)


def join(stored: Sequence[GroupedWeight | None], read: Callable[[int], Tensor]) -> list[GroupedWeight]:
    """Matrices that become one, in the same coding and group size: as they are stored in 4 bits where that can be
    kept, else quantized anew from ``read(index)``."""
    kept = [weight if weight is not None and fits(weight) else None for weight in stored]
    codings = {(weight.coding, weight.group_size) for weight in kept if weight is not None}
    if len(codings) == 1 and None not in kept:
        return [weight for weight in kept if weight is not None]
    if codings == {("minima", FINE)}:
        return [w or quantize_grouped(read(i), "minima", FINE) for i, w in enumerate(kept)]
    return [quantize_grouped(read(index)) for index in range(len(kept))]


def merge(parts: Sequence[GroupedWeight], arrange: Callable[[list[Tensor]], Tensor]) -> GroupedWeight:
    """Matrices of one coding as one; ``arrange`` lays their rows together, and does so for each kind of tensor."""
    codes, levels, offsets, *row = (
        arrange(list(tensors)) for tensors in zip(*(part.tensors for part in parts), strict=True)
    )
    return GroupedWeight(codes, levels, offsets, parts[0].group_size, parts[0].coding, *row)


class Int4Linear:
    """A weight in 4 bits, made fp32 whenever it is multiplied: slow, and exact in the activations."""

    def __init__(self, weight: GroupedWeight, bias: Tensor | None, device: str) -> None:
        pairs = weight.codes.view(len(weight.codes), -1, 2)
        packed = dataclasses.replace(weight, codes=pairs[..., 0] | (pairs[..., 1] << 4))
        self._weight = merge([packed], lambda parts: parts[0].to(device))
        self._bias = None if bias is None else bias.to(device)

    def __call__(self, x: Tensor) -> Tensor:
        packed = self._weight.codes
        codes = torch.stack((packed & 15, packed >> 4), dim=-1).flatten(1)
        return functional.linear(x, dataclasses.replace(self._weight, codes=codes).dequantize(), self._bias)


class Int4Method:
    """Packs weights in 4 bits for torch."""

    def __init__(self, device: str) -> None:
        self._device = device

    def pack(self, weight: Tensor, bias: Tensor | None) -> Int4Linear:
        return self.keep(quantize_grouped(weight), bias)

    def keep(self, weight: GroupedWeight, bias: Tensor | None) -> Int4Linear:
        """Packs what is in 4 bits already."""
        return Int4Linear(weight, bias, self._device)
