"""Memory in large pages, for what every step reads: weights, keys and values.

On Linux, pages of 2 MiB where the system grants them: a processor that translates few addresses reads ahead across
what were borders of pages of 4 KiB. Elsewhere ordinary memory.
"""

from __future__ import annotations

import contextlib
import math
import mmap
import threading
from collections.abc import Sequence

import torch
from torch import Tensor

LARGE_PAGE = 1 << 21
CHUNK = 1 << 26
"""Bytes of address space taken from the system at once; they become memory as they are written."""

_lock = threading.Lock()
_chunk = torch.empty(0, dtype=torch.uint8)
_used = 0


def zeros(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """Zeros ``shape`` that take memory only once they are written. Their chunk goes back to the system when the last
    tensor in it is gone. Raises ``OSError`` when the system has no memory left."""
    global _chunk, _used
    size = math.prod(shape) * dtype.itemsize
    if size > CHUNK // 4:
        return _from_system(size).view(dtype).view(*shape)
    with _lock:
        if _used + size > len(_chunk):
            _chunk, _used = _from_system(CHUNK), 0
        taken = _chunk[_used : _used + size]
        _used += -(-size // 64) * 64
    return taken.view(dtype).view(*shape)


def copied(tensor: Tensor) -> Tensor:
    """The same values in large pages."""
    return zeros(tensor.shape, tensor.dtype).copy_(tensor)


def _from_system(size: int) -> Tensor:
    """Fresh bytes ``[size]`` that begin with a large page."""
    flags = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_ANONYMOUS") else {}
    memory = mmap.mmap(-1, size + LARGE_PAGE, **flags)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):  # a system built without them
            memory.madvise(mmap.MADV_HUGEPAGE)
    whole = torch.frombuffer(memory, dtype=torch.uint8)
    first = -whole.data_ptr() % LARGE_PAGE
    return whole[first : first + size]
