"""W4: weights in 4 bits, with a scale and a zero point for each run of inputs of an output channel."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class GroupedWeight:
    """``weight[o, i] = scale[o, g] * (codes[o, i] - zero[o, g])`` with ``g = i // group_size``.

    ``codes`` uint8 ``[out, in]`` of 0 to 15, ``scale`` floating ``[out, groups]``, ``zero`` uint8 ``[out, groups]`` of
    0 to 15."""

    codes: Tensor
    scale: Tensor
    zero: Tensor
    group_size: int

    def dequantize(self, group_of: Tensor | None = None) -> Tensor:
        """fp32 ``[out, in]``; ``group_of`` int64 ``[in]`` says where groups are no runs. A product of an fp16 scale and
        a difference of codes is exact."""
        if group_of is None:
            group_of = torch.arange(self.codes.shape[1]) // self.group_size
        scale, zero = self.scale.float()[:, group_of], self.zero.float()[:, group_of]
        return self.codes.float().sub_(zero).mul_(scale)
