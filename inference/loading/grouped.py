"""Reads matrices that GPTQ (arXiv:2210.17323) or AWQ (arXiv:2306.00978) stored in 4 bits.

Beside ``X.qweight`` lie ``X.scales`` fp16 ``[groups, out]`` and ``X.qzeros`` ``[groups, out / 8]``, eight values to an
int32; the matrix is ``scale * (code - zero)``, and is seen under the name ``X.weight``.

- GPTQ packs ``qweight [in / 8, out]`` along the input, lowest four bits first, and may say with ``X.g_idx [in]`` which
  group each input is of. The format ``gptq`` stores zeros less one, a whole word at a time, ``gptq_v2`` as they are.
- AWQ, version ``gemm``, packs ``qweight [in, out / 8]`` along the output, in the order 0 2 4 6 1 3 5 7.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from inference.errors import UnsupportedCheckpoint, WeightsCorrupt
from inference.loading.safetensors import SafetensorsFolder
from inference.quantization.int4 import GroupedWeight

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


def unpack(words: Tensor) -> Tensor:
    """int32 ``[n, m]`` -> uint8 ``[n, m, 8]``, lowest four bits first."""
    shifts = torch.arange(0, 32, 4, dtype=torch.int32)
    return (words.unsqueeze(-1) >> shifts).bitwise_and_(15).to(torch.uint8)


class GroupedFolder:
    """A folder of safetensors whose 4-bit matrices are read like others. Tensors are checked when they are read."""

    def __init__(self, folder: SafetensorsFolder, scheme: Scheme) -> None:
        self._folder, self._scheme = folder, scheme
        stored = folder.names()
        self._packed = {
            f"{name.removesuffix('.qweight')}.weight" for name in stored if name.endswith(".qweight")
        }
        stems = tuple(name.removesuffix("weight") for name in self._packed)
        parts = {stem + part[1:] for stem in stems for part in PARTS}
        self._names = [name for name in stored if name not in parts] + sorted(self._packed)

    def names(self) -> list[str]:
        return self._names

    def tensor(self, name: str) -> Tensor:
        """The values as fp32, exact. Raises ``KeyError``, ``WeightsCorrupt``."""
        if name not in self._packed:
            return self._folder.tensor(name)
        weight, group_of = self._read(name)
        return weight.dequantize(group_of)

    def shape(self, name: str) -> tuple[int, ...]:
        if name not in self._packed:
            return self._folder.shape(name)
        stored = self._folder.shape(f"{name.removesuffix('.weight')}.qweight")
        if len(stored) != 2:
            raise WeightsCorrupt(f"{name.removesuffix('.weight')}.qweight has the shape {stored}.")
        rows, columns = stored
        return (columns, rows * PER_WORD) if self._scheme.method == "gptq" else (columns * PER_WORD, rows)

    def rows(self, name: str, first: int, last: int) -> Tensor:
        return self.tensor(name)[first:last] if name in self._packed else self._folder.rows(name, first, last)

    def grouped(self, name: str) -> GroupedWeight | None:
        """The matrix as it is stored, or None when it is not in 4 bits, or its groups are no runs of inputs."""
        if name not in self._packed:
            return None
        weight, group_of = self._read(name)
        return weight if group_of is None else None

    def _read(self, name: str) -> tuple[GroupedWeight, Tensor | None]:
        """The matrix, and the group of each input where that is not its place divided by the group size."""
        stem, gptq = name.removesuffix(".weight"), self._scheme.method == "gptq"
        out, inputs = self.shape(name)
        size = self._scheme.group_size or inputs
        groups = -(-inputs // size)
        try:
            scales = self._folder.stored(f"{stem}.scales")
            zeros = self._part(f"{stem}.qzeros", (groups, out // PER_WORD))
            words = self._part(
                f"{stem}.qweight", (inputs // PER_WORD, out) if gptq else (inputs, out // PER_WORD)
            )
        except KeyError as error:
            raise WeightsCorrupt(f"The checkpoint lacks the tensor {error.args[0]}.") from error
        if tuple(scales.shape) != (groups, out):
            raise WeightsCorrupt(f"{stem}.scales has the shape {tuple(scales.shape)}, not {(groups, out)}.")
        if self._scheme.zeros_less_one:
            zeros = zeros + ONES
        if gptq:
            codes = unpack(words).permute(1, 0, 2).reshape(out, inputs)
            zero = unpack(zeros).reshape(groups, out)
        else:
            codes = unpack(words)[..., list(AWQ_PLACES)].reshape(inputs, out).t()
            zero = unpack(zeros)[..., list(AWQ_PLACES)].reshape(groups, out)
        weight = GroupedWeight(
            codes.contiguous(), scales.t().contiguous(), zero.t().contiguous(), min(size, inputs), "zeros"
        )
        return weight, self._group_of(stem, inputs, groups, weight.group_size) if gptq else None

    def _group_of(self, stem: str, inputs: int, groups: int, size: int) -> Tensor | None:
        name = f"{stem}.g_idx"
        if name not in self._folder.names():
            return None
        given = self._part(name, (inputs,)).long()
        if not bool(((given >= 0) & (given < groups)).all()):
            raise WeightsCorrupt(f"{name} names a group that is not there.")
        return None if torch.equal(given, torch.arange(inputs) // size) else given

    def _part(self, name: str, shape: tuple[int, ...]) -> Tensor:
        part = self._folder.stored(name)
        if part.dtype != torch.int32 or tuple(part.shape) != shape:
            raise WeightsCorrupt(f"{name} is {part.dtype} {tuple(part.shape)}, not torch.int32 {shape}.")
        return part
