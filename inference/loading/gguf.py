"""Reads GGUF files: metadata, and tensors dequantized to fp32.

The file is mapped, not read: a tensor's bytes are touched only when it is asked for. Every offset is
checked against the file's length before use, so a truncated or forged file ends in ``WeightsCorrupt``
and never in a wild read. Dequantization follows the formulas of ggml's reference (``d``, ``m`` are fp16
scales, all arithmetic in fp32), so that values are exactly those that other readers of the format see.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

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
MAX_ITEMS = 1 << 28
ROWS_OF_BLOCKS = 1 << 17

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

_SCALARS: dict[int, str] = {
    0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d",
}  # fmt: skip
_STRING, _ARRAY = 8, 9


def _half(blocks: Bytes, start: int) -> Floats:
    """The fp16 value at byte ``start`` of each block, as fp32 ``[n, 1]``."""
    return np.ascontiguousarray(blocks[:, start : start + 2]).view(np.float16).astype(np.float32)


def _nibbles(packed: Bytes) -> Bytes:
    """``[n, b]`` bytes -> ``[n, 2 b]``: all low halves, then all high halves."""
    return np.concatenate((packed & 0x0F, packed >> 4), axis=1)


def _bits(packed: Bytes) -> Bytes:
    """``[n, 4]`` little-endian bytes -> ``[n, 32]`` bits, lowest first."""
    return np.unpackbits(np.ascontiguousarray(packed), axis=1, bitorder="little")


def _f32(blocks: Bytes) -> Floats:
    return np.ascontiguousarray(blocks).view(np.float32)


def _f16(blocks: Bytes) -> Floats:
    return np.ascontiguousarray(blocks).view(np.float16).astype(np.float32)


def _bf16(blocks: Bytes) -> Floats:
    words = np.ascontiguousarray(blocks).view(np.uint16).astype(np.uint32) << np.uint32(16)
    return words.view(np.float32)


def _q4_0(blocks: Bytes) -> Floats:
    return (_nibbles(blocks[:, 2:18]).astype(np.int8) - np.int8(8)).astype(np.float32) * _half(blocks, 0)


def _q4_1(blocks: Bytes) -> Floats:
    return _nibbles(blocks[:, 4:20]).astype(np.float32) * _half(blocks, 0) + _half(blocks, 2)


def _q5_0(blocks: Bytes) -> Floats:
    quants = _nibbles(blocks[:, 6:22]) | (_bits(blocks[:, 2:6]) << 4)
    return (quants.astype(np.int8) - np.int8(16)).astype(np.float32) * _half(blocks, 0)


def _q5_1(blocks: Bytes) -> Floats:
    quants = _nibbles(blocks[:, 8:24]) | (_bits(blocks[:, 4:8]) << 4)
    return quants.astype(np.float32) * _half(blocks, 0) + _half(blocks, 2)


def _q8_0(blocks: Bytes) -> Floats:
    return np.ascontiguousarray(blocks[:, 2:34]).view(np.int8).astype(np.float32) * _half(blocks, 0)


def _k_scales(packed: Bytes) -> tuple[Floats, Floats]:
    """The eight 6-bit scales and eight 6-bit minima that K-quants keep in 12 bytes, each fp32 ``[n,
    8]``."""
    first, second, third = packed[:, 0:4], packed[:, 4:8], packed[:, 8:12]
    scales = np.concatenate((first & 63, (third & 15) | ((first >> 6) << 4)), axis=1)
    minima = np.concatenate((second & 63, (third >> 4) | ((second >> 6) << 4)), axis=1)
    return scales.astype(np.float32), minima.astype(np.float32)


def _k_affine(quants: Bytes, blocks: Bytes) -> Floats:
    """``d * scale * q - dmin * minimum`` over sub-blocks: quants ``[n, 8, 32]`` -> fp32 ``[n, 256]``."""
    scales, minima = _k_scales(blocks[:, 4:16])
    scale = (_half(blocks, 0) * scales)[:, :, None]
    minimum = (_half(blocks, 2) * minima)[:, :, None]
    return (scale * quants.astype(np.float32) - minimum).reshape(len(blocks), 256)


def _k_nibbles(packed: Bytes) -> Bytes:
    """Four groups of 32 bytes -> eight sub-blocks of 32: each group's low halves, then its high halves."""
    groups = packed.reshape(len(packed), 4, 32)
    return np.stack((groups & 0x0F, groups >> 4), axis=2).reshape(len(packed), 8, 32)


def _q4_k(blocks: Bytes) -> Floats:
    return _k_affine(_k_nibbles(blocks[:, 16:144]), blocks)


def _q5_k(blocks: Bytes) -> Floats:
    shifts = np.arange(8, dtype=np.uint8)[None, :, None]
    high: Bytes = ((blocks[:, 16:48][:, None, :] >> shifts) & 1).astype(np.uint8)
    return _k_affine(_k_nibbles(blocks[:, 48:176]) | (high << np.uint8(4)), blocks)


def _q6_k(blocks: Bytes) -> Floats:
    count = len(blocks)
    low_shifts = np.array([0, 4], dtype=np.uint8)[None, None, :, None]
    high_shifts = np.array([0, 2, 4, 6], dtype=np.uint8)[None, None, :, None]
    low = (blocks[:, 0:128].reshape(count, 2, 1, 64) >> low_shifts) & 0x0F
    high = (blocks[:, 128:192].reshape(count, 2, 1, 32) >> high_shifts) & 3
    quants = (low.reshape(count, 256) | (high.reshape(count, 256) << 4)).astype(np.int8) - np.int8(32)
    scales = np.ascontiguousarray(blocks[:, 192:208]).view(np.int8).astype(np.float32)
    scale = (_half(blocks, 208) * scales)[:, :, None]
    return (scale * quants.astype(np.float32).reshape(count, 16, 16)).reshape(count, 256)


def _codes_q4_0(blocks: Bytes) -> tuple[Bytes, Floats, Floats]:
    return _nibbles(blocks[:, 2:18]), _half(blocks, 0), -8 * _half(blocks, 0)


def _codes_q4_1(blocks: Bytes) -> tuple[Bytes, Floats, Floats]:
    return _nibbles(blocks[:, 4:20]), _half(blocks, 0), _half(blocks, 2)


def _codes_q4_k(blocks: Bytes) -> tuple[Bytes, Floats, Floats]:
    scales, minima = _k_scales(blocks[:, 4:16])
    return (
        _k_nibbles(blocks[:, 16:144]).reshape(-1, 256),
        _half(blocks, 0) * scales,
        -_half(blocks, 2) * minima,
    )


FOUR_BITS = {"Q4_0": _codes_q4_0, "Q4_1": _codes_q4_1, "Q4_K": _codes_q4_k}
"""Codes 0 to 15 of whole blocks, with a scale and a minimum for each 32 of them."""


@dataclass(frozen=True, slots=True)
class TensorType:
    """How a tensor is stored: ``block_bytes`` bytes hold ``block_size`` consecutive values."""

    name: str
    block_size: int
    block_bytes: int
    dequantize: Callable[[Bytes], Floats]


TENSOR_TYPES: dict[int, TensorType] = {
    0: TensorType("F32", 1, 4, _f32),
    1: TensorType("F16", 1, 2, _f16),
    2: TensorType("Q4_0", 32, 18, _q4_0),
    3: TensorType("Q4_1", 32, 20, _q4_1),
    6: TensorType("Q5_0", 32, 22, _q5_0),
    7: TensorType("Q5_1", 32, 24, _q5_1),
    8: TensorType("Q8_0", 32, 34, _q8_0),
    12: TensorType("Q4_K", 256, 144, _q4_k),
    13: TensorType("Q5_K", 256, 176, _q5_k),
    14: TensorType("Q6_K", 256, 210, _q6_k),
    30: TensorType("BF16", 1, 2, _bf16),
}


def dequantize(type_id: int, blocks: Bytes) -> Floats:
    """Values of whole blocks: uint8 ``[n, block_bytes]`` -> fp32 ``[n, block_size]``."""
    return TENSOR_TYPES[type_id].dequantize(blocks)


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """Where a tensor lies. ``shape`` is outermost first, as torch has it; ``offset`` counts from the
    file's start."""

    name: str
    shape: tuple[int, ...]
    type: TensorType
    offset: int

    @property
    def values(self) -> int:
        count = 1
        for size in self.shape:
            count *= size
        return count

    @property
    def nbytes(self) -> int:
        return self.values // self.type.block_size * self.type.block_bytes


class _Cursor:
    """Reads scalars, strings and arrays from the mapped file; every read is checked against its length."""

    def __init__(self, data: mmap.mmap) -> None:
        self.data = data
        self.at = 0

    def take(self, count: int) -> bytes:
        end = self.at + count
        if count < 0 or end > len(self.data):
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
        if count > MAX_ITEMS:
            raise WeightsCorrupt("The GGUF file announces an impossibly long array.")
        if element in _SCALARS:
            size = struct.calcsize(_SCALARS[element])
            return list(struct.unpack(f"<{count}{_SCALARS[element][1]}", self.take(size * count)))
        return [self.value(element, depth + 1) for _ in range(count)]


class GgufFile:
    """An open GGUF file: ``metadata`` (key -> value), ``tensors`` (name -> info) and their values.

    Raises ``WeightsCorrupt`` when the file is not a well-formed GGUF of version 2 or 3, or stores a
    tensor in a type that is not in ``TENSOR_TYPES``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with path.open("rb") as file:
            if file.read(4) != MAGIC:
                raise WeightsCorrupt(f"{path.name} is not a GGUF file.")
            self._data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        cursor = _Cursor(self._data)
        cursor.take(4)
        version = cursor.scalar("<I")
        if version not in (2, 3):
            raise WeightsCorrupt(f"{path.name} is GGUF version {version}; versions 2 and 3 can be read.")
        tensor_count, value_count = cursor.scalar("<Q"), cursor.scalar("<Q")
        if max(tensor_count, value_count) > MAX_ITEMS:
            raise WeightsCorrupt(f"{path.name} announces impossibly many tensors.")
        self.metadata: dict[str, Any] = {}
        for _ in range(value_count):
            key = cursor.string()
            self.metadata[key] = cursor.value(cursor.scalar("<I"))
        listed = [self._read_info(cursor) for _ in range(tensor_count)]
        self.tensors = self._place(listed, cursor.at)

    def _read_info(self, cursor: _Cursor) -> tuple[str, tuple[int, ...], int, int]:
        name, dimensions = cursor.string(), cursor.scalar("<I")
        if dimensions > MAX_DIMENSIONS:
            raise WeightsCorrupt(f"Tensor {name} of {self.path.name} has {dimensions} dimensions.")
        shape = tuple(cursor.scalar("<Q") for _ in range(dimensions))
        return name, shape[::-1], cursor.scalar("<I"), cursor.scalar("<Q")

    def _place(
        self, listed: list[tuple[str, tuple[int, ...], int, int]], header: int
    ) -> dict[str, TensorInfo]:
        alignment = int(self.metadata.get("general.alignment", DEFAULT_ALIGNMENT)) or DEFAULT_ALIGNMENT
        start = -(-header // alignment) * alignment
        tensors: dict[str, TensorInfo] = {}
        for name, shape, type_id, offset in listed:
            kind = TENSOR_TYPES.get(type_id)
            if kind is None:
                raise WeightsCorrupt(
                    f"Tensor {name} of {self.path.name} has the unreadable GGUF type {type_id}.",
                    hint="Use a file in one of the types "
                    + ", ".join(t.name for t in TENSOR_TYPES.values())
                    + ".",
                )
            info = TensorInfo(name, shape, kind, start + offset)
            if (shape and shape[-1] % kind.block_size) or info.offset + info.nbytes > len(self._data):
                raise WeightsCorrupt(f"Tensor {name} of {self.path.name} lies outside the file.")
            tensors[name] = info
        return tensors

    def tensor(self, name: str) -> torch.Tensor:
        """The tensor's values, fp32, in a fresh tensor of its ``shape``. Raises ``KeyError`` for an
        unknown name."""
        info = self.tensors[name]
        return self._values(info, 0, info.values).reshape(info.shape)

    def rows(self, name: str, first: int, last: int) -> torch.Tensor:
        """Rows ``first .. last - 1`` of a matrix, fp32. Raises ``KeyError`` for an unknown name."""
        info = self.tensors[name]
        width = info.shape[-1]
        return self._values(info, first * width, last * width).reshape(last - first, width)

    def _values(self, info: TensorInfo, first: int, last: int) -> torch.Tensor:
        """Values ``first .. last - 1``, whole blocks of them."""
        kind = info.type
        values = np.empty(last - first, dtype=np.float32)
        flat = values.reshape(-1, kind.block_size)
        blocks = self._blocks(info, first // kind.block_size, len(flat))
        for start in range(0, len(blocks), ROWS_OF_BLOCKS):
            flat[start : start + ROWS_OF_BLOCKS] = kind.dequantize(blocks[start : start + ROWS_OF_BLOCKS])
        return torch.from_numpy(values)

    def codes(self, name: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor] | None:
        """Codes uint8 ``[out, in]``, scales and minima fp32 ``[out, in / 32]`` of a matrix in 4 bits, else None."""
        info = self.tensors[name]
        split = FOUR_BITS.get(info.type.name)
        if split is None:
            return None
        parts = split(self._blocks(info, 0, info.values // info.type.block_size))
        codes, scales, minima = (torch.from_numpy(part.reshape(info.shape[0], -1)) for part in parts)
        return codes, scales, minima

    def _blocks(self, info: TensorInfo, first: int, count: int) -> Bytes:
        size = info.type.block_bytes
        start = info.offset + first * size
        return np.frombuffer(self._data, dtype=np.uint8, count=count * size, offset=start).reshape(-1, size)
