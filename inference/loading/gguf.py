"""Reads GGUF files: metadata, and tensors dequantized to fp32.

The file is mapped, not read: a tensor's bytes are touched only when it is asked for, and their pages are let
go once they are decoded. Every offset is checked against the file's length before use, so a truncated or
forged file ends in ``WeightsCorrupt`` and never in a wild read. Values are exactly those of ggml's reference
(``d`` and ``m`` are fp16 scales, all arithmetic in fp32), so that they are what other readers of the format see.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import dataclasses
import math
import mmap
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from inference.errors import WeightsCorrupt

MAGIC = b"GGUF"
DEFAULT_ALIGNMENT = 32
MAX_DIMENSIONS = 4
VALUES_AT_ONCE = 1 << 18

Blocks = npt.NDArray[Any]
Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Split = tuple[npt.NDArray[np.integer[Any]], Floats, Floats | None]
"""Codes ``[n, block_size]``, and for each of the equal runs of a block a scale and a minimum, fp32 ``[n, runs]``:
a value is ``scale * code + minimum``; without minima it is ``scale * code``."""

_SCALARS: dict[int, str] = {
    0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d",
}  # fmt: skip
_STRING, _ARRAY = 8, 9


def _floats(field: Blocks) -> Floats:
    return field.reshape(len(field), -1).astype(np.float32)


def _has(blocks: Blocks, field: str) -> bool:
    return field in (blocks.dtype.names or ())


def _nibbles(packed: Bytes) -> Bytes:
    """``[n, m, b]`` bytes -> ``[n, 2 m b]``: the low halves of each run of ``b`` bytes, then its high halves."""
    return np.stack((packed & 0x0F, packed >> 4), axis=2).reshape(len(packed), -1)


def _runs_of_32(blocks: Blocks) -> Split:
    """Q4_0, Q4_1, Q5_0 and Q5_1: one scale, and a minimum or codes around their middle; the fifth bits lie apart."""
    codes, middle, scale = _nibbles(blocks["qs"][:, None]), 8, _floats(blocks["d"])
    if _has(blocks, "qh"):
        codes |= np.unpackbits(blocks["qh"], axis=1, bitorder="little") << 4
        middle = 16
    return codes, scale, _floats(blocks["m"]) if _has(blocks, "m") else -middle * scale


def _q8_0(blocks: Blocks) -> Split:
    return blocks["qs"], _floats(blocks["d"]), None


def _k_affine(blocks: Blocks) -> Split:
    """Q4_K and Q5_K: eight runs, whose 6-bit scales and minima share 12 bytes."""
    codes = _nibbles(blocks["qs"].reshape(-1, 4, 32))
    if _has(blocks, "qh"):
        high = blocks["qh"][:, None, :] >> np.arange(8, dtype=np.uint8)[:, None] & 1
        codes |= high.reshape(codes.shape) << 4
    first, second, third = np.split(blocks["scales"], 3, axis=1)
    scales = np.concatenate((first & 63, (third & 15) | ((first >> 6) << 4)), axis=1)
    minima = np.concatenate((second & 63, (third >> 4) | ((second >> 6) << 4)), axis=1)
    return codes, _floats(blocks["d"]) * _floats(scales), -_floats(blocks["m"]) * _floats(minima)


def _q6_k(blocks: Blocks) -> Split:
    low = _nibbles(blocks["ql"].reshape(-1, 2, 64))
    high = blocks["qh"].reshape(-1, 2, 1, 32) >> np.array([0, 2, 4, 6], dtype=np.uint8)[:, None] & 3
    codes = (low | high.reshape(low.shape) << 4).astype(np.int8) - np.int8(32)
    return codes, _floats(blocks["d"]) * _floats(blocks["scales"]), None


@dataclass(frozen=True, slots=True)
class TensorType:
    """How a tensor is stored: one item of ``layout`` holds ``block_size`` consecutive values; ``split`` takes items
    apart, and is None where an item is the value."""

    name: str
    block_size: int
    layout: np.dtype[Any]
    split: Callable[[Blocks], Split] | None = None

    @property
    def in_four_bits(self) -> bool:
        """Whether ``split`` gives codes 0 to 15, and a scale and a minimum for each 32 of them."""
        return self.name in ("Q4_0", "Q4_1", "Q4_K")


def _type(name: str, size: int, split: Callable[[Blocks], Split], **fields: str) -> TensorType:
    return TensorType(name, size, np.dtype(list(fields.items())), split)


TENSOR_TYPES: dict[int, TensorType] = {
    0: TensorType("F32", 1, np.dtype("<f4")),
    1: TensorType("F16", 1, np.dtype("<f2")),
    2: _type("Q4_0", 32, _runs_of_32, d="<f2", qs="16u1"),
    3: _type("Q4_1", 32, _runs_of_32, d="<f2", m="<f2", qs="16u1"),
    6: _type("Q5_0", 32, _runs_of_32, d="<f2", qh="4u1", qs="16u1"),
    7: _type("Q5_1", 32, _runs_of_32, d="<f2", m="<f2", qh="4u1", qs="16u1"),
    8: _type("Q8_0", 32, _q8_0, d="<f2", qs="32i1"),
    12: _type("Q4_K", 256, _k_affine, d="<f2", m="<f2", scales="12u1", qs="128u1"),
    13: _type("Q5_K", 256, _k_affine, d="<f2", m="<f2", scales="12u1", qh="32u1", qs="128u1"),
    14: _type("Q6_K", 256, _q6_k, ql="128u1", qh="64u1", scales="16i1", d="<f2"),
    30: TensorType("BF16", 1, np.dtype("<u2")),
}
"""The fields are ggml's structures: https://github.com/ggml-org/ggml/blob/master/src/ggml-common.h."""


def dequantize(kind: TensorType, blocks: Blocks) -> Floats:
    """Values of whole blocks: items of ``kind.layout`` ``[n]`` -> fp32 ``[n, block_size]``."""
    if kind.split is None:
        return (
            (blocks.astype(np.uint32)[:, None] << 16).view(np.float32)
            if kind.name == "BF16"
            else _floats(blocks)
        )
    codes, scales, minima = kind.split(blocks)
    values: Floats = codes.reshape(*scales.shape, -1) * scales[:, :, None]
    if minima is not None:
        values += minima[:, :, None]
    return values.reshape(len(blocks), kind.block_size)


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """Where a tensor lies. ``shape`` is outermost first, as torch has it; ``offset`` counts from the
    file's start."""

    name: str
    shape: tuple[int, ...]
    type: TensorType
    offset: int

    @property
    def blocks(self) -> int:
        return math.prod(self.shape) // self.type.block_size


class _Cursor:
    """Reads scalars, strings and arrays from the mapped file; every read is checked against its length."""

    def __init__(self, data: mmap.mmap) -> None:
        self.data = data
        self.at = 0

    def take(self, count: int) -> bytes:
        end = self.at + count
        if end > len(self.data):
            raise WeightsCorrupt("The GGUF file ends in the middle of its header.")
        piece = self.data[self.at : end]
        self.at = end
        return piece

    def scalar(self, layout: str) -> Any:
        return struct.unpack(layout, self.take(struct.calcsize(layout)))[0]

    def string(self) -> str:
        return self.take(self.scalar("<Q")).decode("utf-8", errors="replace")

    def value(self, kind: int, depth: int = 0) -> Any:
        if kind in _SCALARS:
            return self.scalar(_SCALARS[kind])
        if kind == _STRING:
            return self.string()
        if kind != _ARRAY or depth > 2:
            raise WeightsCorrupt(f"The GGUF file has a metadata value of unknown type {kind}.")
        element, count = self.scalar("<I"), self.scalar("<Q")
        if element in _SCALARS:
            size = struct.calcsize(_SCALARS[element])
            return list(struct.unpack(f"<{count}{_SCALARS[element][1]}", self.take(size * count)))
        return [self.value(element, depth + 1) for _ in range(count)]


class GgufFile:
    """An open GGUF file: ``metadata`` (key -> value), ``tensors`` (name -> info) and their values.

    Raises ``WeightsCorrupt`` when the file is not a well-formed GGUF of version 2 or 3, or stores a
    tensor in a type that is not in ``TENSOR_TYPES``."""

    def __init__(self, path: Path) -> None:
        self._name = path.name
        with path.open("rb") as file:
            if file.read(4) != MAGIC:
                raise WeightsCorrupt(f"{path.name} is not a GGUF file.")
            self._data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        cursor = _Cursor(self._data)
        cursor.take(len(MAGIC))
        version = cursor.scalar("<I")
        if version not in (2, 3):
            raise WeightsCorrupt(f"{path.name} is GGUF version {version}; versions 2 and 3 can be read.")
        tensor_count, value_count = cursor.scalar("<Q"), cursor.scalar("<Q")
        self.metadata: dict[str, Any] = {}
        for _ in range(value_count):
            key = cursor.string()
            self.metadata[key] = cursor.value(cursor.scalar("<I"))
        listed = [self._read_info(cursor) for _ in range(tensor_count)]
        alignment = self.metadata.get("general.alignment", DEFAULT_ALIGNMENT)
        if not isinstance(alignment, int) or alignment < 1:
            raise WeightsCorrupt(f"{path.name} aligns its tensors to {alignment!r} bytes.")
        start = -(-cursor.at // alignment) * alignment
        self.tensors = {info.name: dataclasses.replace(info, offset=start + info.offset) for info in listed}
        for info in self.tensors.values():
            self._check(info)

    def _read_info(self, cursor: _Cursor) -> TensorInfo:
        """A line of the table of tensors; its offset counts from the end of the header."""
        name, dimensions = cursor.string(), cursor.scalar("<I")
        if dimensions > MAX_DIMENSIONS:
            raise WeightsCorrupt(f"Tensor {name} of {self._name} has {dimensions} dimensions.")
        shape = tuple(cursor.scalar("<Q") for _ in range(dimensions))
        type_id, offset = cursor.scalar("<I"), cursor.scalar("<Q")
        if type_id not in TENSOR_TYPES:
            known = ", ".join(kind.name for kind in TENSOR_TYPES.values())
            raise WeightsCorrupt(
                f"Tensor {name} of {self._name} has the unreadable GGUF type {type_id}.",
                hint=f"Use a file in one of the types {known}.",
            )
        return TensorInfo(name, shape[::-1], TENSOR_TYPES[type_id], offset)

    def _check(self, info: TensorInfo) -> None:
        end = info.offset + info.blocks * info.type.layout.itemsize
        if math.prod(info.shape[-1:]) % info.type.block_size or end > len(self._data):
            raise WeightsCorrupt(f"Tensor {info.name} of {self._name} lies outside the file.")

    def tensor(self, name: str) -> torch.Tensor:
        """The tensor's values, fp32, in a fresh tensor of its ``shape``. Raises ``KeyError`` for an
        unknown name."""
        info = self.tensors[name]
        return self._values(info, 0, info.blocks).reshape(info.shape)

    def rows(self, name: str, first: int, last: int) -> torch.Tensor:
        """Rows ``first .. last - 1`` of a matrix, fp32. Raises ``KeyError`` for an unknown name."""
        info = self.tensors[name]
        blocks = info.shape[-1] // info.type.block_size
        return self._values(info, first * blocks, last * blocks).reshape(last - first, info.shape[-1])

    def _values(self, info: TensorInfo, first: int, last: int) -> torch.Tensor:
        """The values of blocks ``first .. last - 1``, ``[blocks, block_size]``."""
        values = np.empty((last - first, info.type.block_size), dtype=np.float32)
        at_once = VALUES_AT_ONCE // info.type.block_size
        for start in range(0, len(values), at_once):
            part = values[start : start + at_once]
            part[:] = dequantize(info.type, self._blocks(info, first + start, len(part)))
            self._data.madvise(mmap.MADV_DONTNEED)
        return torch.from_numpy(values)

    def codes(self, name: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor] | None:
        """Codes uint8 ``[out, in]``, scales and minima fp32 ``[out, in / 32]`` of a matrix in 4 bits, else None."""
        info = self.tensors[name]
        if info.type.split is None or not info.type.in_four_bits:
            return None
        parts = info.type.split(self._blocks(info, 0, info.blocks))
        codes, scales, minima = (
            torch.from_numpy(part.reshape(info.shape[0], -1)) for part in parts if part is not None
        )
        return codes, scales, minima

    def _blocks(self, info: TensorInfo, first: int, count: int) -> Blocks:
        offset = info.offset + first * info.type.layout.itemsize
        return np.frombuffer(self._data, dtype=info.type.layout, count=count, offset=offset)
