"""Reads matrices that GPTQ (arXiv:2210.17323) or AWQ (arXiv:2306.00978) stored in 4 bits.

Beside ``X.qweight`` lie ``X.scales`` fp16 ``[groups, out]`` and ``X.qzeros`` ``[groups, out / 8]``, eight values to an
int32; the matrix is ``scale * (code - zero)``, and is seen under the name ``X.weight``.

- GPTQ packs ``qweight [in / 8, out]`` along the input, lowest four bits first, and may say with ``X.g_idx [in]`` which
  group each input is of. The format ``gptq`` stores zeros less one, a whole word at a time, ``gptq_v2`` as they are.
- AWQ, version ``gemm``, packs ``qweight [in, out / 8]`` along the output, in the order 0 2 4 6 1 3 5 7.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from inference.errors import UnsupportedCheckpoint, WeightsCorrupt
from inference.loading.safetensors import SafetensorsFolder
from inference.quantization.int4 import GroupedWeight, fits

logger = logging.getLogger(__name__)

PER_WORD = 8
ONES = 0x11111111
AWQ_PLACES = (0, 4, 1, 5, 2, 6, 3, 7)
"""Where in a word of AWQ's the values 0 to 7 lie."""
PARTS = (".qweight", ".qzeros", ".scales", ".g_idx")


@dataclass(frozen=True, slots=True)
class Scheme:
    """What ``quantization_config`` says; ``group_size`` counts inputs, None means one group."""

    method: Literal["gptq", "awq"]
    group_size: int | None
    zeros_less_one: bool = False


def read_scheme(settings: Mapping[str, Any]) -> Scheme:
    """Raises ``UnsupportedCheckpoint`` for every other way to store a matrix, by name."""
    method = str(settings.get("quant_method", "")).lower()
    if method not in ("gptq", "awq"):
        raise _refused(f"by {method or 'an unnamed method'}")
    bits = settings.get("bits", settings.get("w_bit"))
    if bits != 4:
        raise _refused(f"in {bits} bits")
    size = settings.get("group_size", settings.get("q_group_size", -1))
    if not isinstance(size, int) or (size <= 0 and size != -1):
        raise _refused(f"in groups of {size!r}")
    if settings.get("dynamic"):
        raise _refused("by rules that differ from layer to layer")
    group_size = None if size == -1 else size
    if method == "awq":
        version = str(settings.get("version", "gemm")).lower()
        if version != "gemm" or settings.get("backend", "autoawq") != "autoawq":
            raise _refused(f"by AWQ's version {version!r} of {settings.get('backend', 'autoawq')}")
        if not settings.get("zero_point", True):
            raise _refused("by AWQ without zero points")
        return Scheme("awq", group_size)
    layout = str(settings.get("checkpoint_format", "gptq")).lower()
    if layout not in ("gptq", "gptq_v2") or settings.get("is_marlin_format"):
        raise _refused(f"in GPTQ's format {'marlin' if settings.get('is_marlin_format') else layout!r}")
    return Scheme("gptq", group_size, zeros_less_one=layout == "gptq")


def _refused(how: str) -> UnsupportedCheckpoint:
    return UnsupportedCheckpoint(
        f"The checkpoint's tensors are quantized {how}, which is not supported.",
        hint="Use GPTQ (formats gptq, gptq_v2) or AWQ (version gemm) in 4 bits, or a checkpoint in 16 bits.",
    )


def unpack(words: Tensor, scheme: Scheme) -> Tensor:
    """int32 ``[n, m]`` -> uint8 ``[n, m, 8]``, in the order of the values."""
    shifts = torch.arange(0, 32, 4, dtype=torch.int32)
    values = (words.unsqueeze(-1) >> shifts).bitwise_and_(15).to(torch.uint8)
    return values[..., list(AWQ_PLACES)] if scheme.method == "awq" else values


class GroupedFolder(SafetensorsFolder):
    """A folder of safetensors whose 4-bit matrices are read like others. Tensors are checked when they are read."""

    def __init__(self, folder: Path, scheme: Scheme) -> None:
        super().__init__(folder)
        self._scheme = scheme
        stems = [name.removesuffix(".qweight") for name in self._file_of if name.endswith(".qweight")]
        self._packed = {f"{stem}.weight" for stem in stems}
        self._parts = {stem + part for stem in stems for part in PARTS}
        self._told = False

    def names(self) -> list[str]:
        return [name for name in self._file_of if name not in self._parts] + sorted(self._packed)

    def tensor(self, name: str) -> Tensor:
        """The values as fp32, exact. Raises ``KeyError``, ``WeightsCorrupt``."""
        if name not in self._packed:
            return super().tensor(name)
        weight, group_of = self._read(name)
        return weight.dequantize(group_of)

    def shape(self, name: str) -> tuple[int, ...]:
        if name not in self._packed:
            return super().shape(name)
        name = f"{name.removesuffix('.weight')}.qweight"
        stored = super().shape(name)
        if len(stored) != 2:
            raise WeightsCorrupt(f"{name} has the shape {stored}.")
        rows, columns = stored
        return (columns, rows * PER_WORD) if self._scheme.method == "gptq" else (columns * PER_WORD, rows)

    def rows(self, name: str, first: int, last: int) -> Tensor:
        return self.tensor(name)[first:last] if name in self._packed else super().rows(name, first, last)

    def grouped(self, name: str) -> GroupedWeight | None:
        """The matrix as it is stored, or None when it is not in 4 bits or its layout cannot be kept: groups of a
        size that the kernels do not know, or that are no runs of inputs. The first of those is logged."""
        if name not in self._packed:
            return None
        weight, group_of = self._read(name)
        if group_of is None and fits(weight):
            return weight
        if not self._told:
            self._told = True
            why = f"groups of {weight.group_size}" if group_of is None else "groups in order of activation"
            logger.info(
                "%s of %s in %s cannot be kept as it is stored; such matrices are quantized to 4 bits anew",
                name,
                self._scheme.method.upper(),
                why,
            )
        return None

    def _read(self, name: str) -> tuple[GroupedWeight, Tensor | None]:
        """The matrix, and the group of each input where that is not its place divided by the group size."""
        stem, gptq = name.removesuffix(".weight"), self._scheme.method == "gptq"
        out, inputs = self.shape(name)
        size = min(self._scheme.group_size or inputs, inputs)
        groups = -(-inputs // size)
        shape = (inputs // PER_WORD, out) if gptq else (inputs, out // PER_WORD)
        codes = unpack(self._part(f"{stem}.qweight", shape), self._scheme)
        codes = codes.permute(1, 0, 2).reshape(out, inputs) if gptq else codes.reshape(inputs, out).t()
        words = self._part(f"{stem}.qzeros", (groups, out // PER_WORD))
        zeros = unpack(words + ONES if self._scheme.zeros_less_one else words, self._scheme)
        scales = self._part(f"{stem}.scales", (groups, out), integers=False)
        weight = GroupedWeight(
            codes.contiguous(),
            scales.t().contiguous(),
            zeros.reshape(groups, out).t().contiguous(),
            size,
            "zeros",
        )
        return weight, self._group_of(f"{stem}.g_idx", inputs, groups, size) if gptq else None

    def _group_of(self, name: str, inputs: int, groups: int, size: int) -> Tensor | None:
        if name not in self._file_of:
            return None
        given = self._part(name, (inputs,)).long()
        if not bool(((given >= 0) & (given < groups)).all()):
            raise WeightsCorrupt(f"{name} names a group that is not there.")
        return None if torch.equal(given, torch.arange(inputs) // size) else given

    def _part(self, name: str, shape: tuple[int, ...], *, integers: bool = True) -> Tensor:
        if name not in self._file_of:
            raise WeightsCorrupt(f"The checkpoint lacks the tensor {name}.")
        part = self.stored(name)
        if tuple(part.shape) != shape or integers is not (part.dtype == torch.int32):
            raise WeightsCorrupt(f"{name} is {part.dtype} {tuple(part.shape)}, where {shape} is meant.")
        return part
