"""Multiplies by one packed matrix and by the matrix it was packed from, when a model is loaded.

It finds a kernel that a compiler built wrongly, or a layout that a checkpoint means differently, before a wrong
answer does.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from inference.errors import WeightsCorrupt
from inference.model.source import WeightSource
from inference.quantization.base import WeightFormat

ROWS = 7
TOLERANCE: dict[WeightFormat, float] = {"fp32": 1e-3, "bf16": 0.02, "int8": 0.05, "int4": 0.3}
"""Relative error of a product that a format may have; rows or inputs in a wrong order cost more than 1."""


class PackingFailed(WeightsCorrupt):
    """A packed matrix does not multiply as the checkpoint's does."""

    code = "packing_failed"
    hint = "Set TESSERA_KERNELS=off to compute with torch, and report the processor and the compiler."


def check_packed(
    source: WeightSource,
    name: str,
    weight_format: WeightFormat,
    multiply: Callable[[Tensor], Tensor],
    device: str = "cpu",
) -> None:
    """``multiply`` takes fp32 ``[n, in]`` to ``[n, at least out]``, as ``name`` and its bias do. Raises
    ``PackingFailed``."""
    weight = source.tensor(f"{name}.weight")
    x = torch.randn(ROWS, weight.shape[1], generator=torch.Generator().manual_seed(1))
    wanted = x @ weight.float().t()
    if f"{name}.bias" in source.names():
        wanted += source.tensor(f"{name}.bias")
    got = multiply(x.to(device))[:, : wanted.shape[1]].float().cpu()
    error = float((got - wanted).norm() / wanted.norm().clamp_min(1e-12))
    if not error <= TOLERANCE[weight_format]:
        raise PackingFailed(
            f"The matrix {name} packed in {weight_format} is off by {error:.2g} of its products."
        )
