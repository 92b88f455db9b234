"""Multiplies by one packed matrix and by the matrix it was packed from, when a model is loaded.

It finds a kernel that a compiler built wrongly, or a layout that a checkpoint means differently, before a wrong
answer does."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from inference.errors import WeightsCorrupt
from inference.model.source import WeightSource, optional
from inference.quantization.base import WeightFormat

Multiply = Callable[[Tensor], Tensor]
"""fp32 ``[n, in]`` to ``[n, at least out]``."""
ROWS = 7
TOLERANCE: dict[WeightFormat, float] = {"fp32": 1e-3, "bf16": 0.02, "int8": 0.05, "int4": 0.3}
"""Relative error of a product that a format may have; rows or inputs in a wrong order cost more than 1."""


class PackingFailed(WeightsCorrupt):
    """A packed matrix does not multiply as the checkpoint's does."""

    code = "packing_failed"
    hint = "Set TESSERA_KERNELS=off to compute with torch, and report the processor and the compiler."


def check_layer(
    source: WeightSource,
    index: int,
    weight_format: WeightFormat,
    *,
    output: Multiply,
    down: Multiply,
    device: str = "cpu",
) -> None:
    """Checks two matrices of a layer: the last of its attention and of its MLP. Raises ``PackingFailed``."""
    for projection, multiply in (("self_attn.o_proj", output), ("mlp.down_proj", down)):
        name = f"model.layers.{index}.{projection}"
        weight, bias = source.tensor(f"{name}.weight"), optional(source, f"{name}.bias")
        x = torch.randn(ROWS, weight.shape[1], generator=torch.Generator().manual_seed(1))
        wanted = F.linear(x, weight.float(), bias)
        got = multiply(x.to(device))[:, : wanted.shape[1]].float().cpu()
        error = float((got - wanted).norm() / wanted.norm().clamp_min(1e-12))
        if not error <= TOLERANCE[weight_format]:
            raise PackingFailed(
                f"The matrix {name} packed in {weight_format} is off by {error:.2g} of its products."
            )
