"""The kernels as Python sees them: the structures of ``kernels.h`` and a team of threads that runs steps."""

from __future__ import annotations

import ctypes
import os
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from inference.kernels.build import KernelsUnavailable, load_library

GROUP = 64
"""Activations that share a scale; inputs of a layer are a multiple of it."""
PANEL = 32
"""Output columns that lie together in a packed weight."""
BLOCK = 16
"""Positions in a block of the KV cache."""
MAX_ROWS = 48
MAX_HEAD_DIM = 256
MOST_THREADS = 16
INT8, BF16, INT4, INT4_FINE = range(4)
STEPS, ZEROS, MINIMA = range(3)

InstructionSet = Literal["", "avx512", "avx2"]
_int, _address = ctypes.c_int32, ctypes.c_void_p


def _fields(kind: type[ctypes._SimpleCData[Any]], names: str) -> list[tuple[str, type[Any]]]:
    return [(name, kind) for name in names.split()]


class Linear(ctypes.Structure):
    _fields_ = (
        *_fields(_int, "format n k"),
        *_fields(_address, "weight scale bias"),
        *_fields(_int, "group coding"),
        *_fields(_address, "levels offsets"),
    )


class Layer(ctypes.Structure):
    _fields_ = (
        *((name, Linear) for name in ("qkv", "output", "gate_up", "down")),
        *_fields(_address, "attention_norm mlp_norm query_norm key_norm key_shift keys values"),
    )


class Model(ctypes.Structure):
    _fields_ = (
        *_fields(_int, "num_layers hidden ffn heads kv_heads head_dim kv_format"),
        ("eps", ctypes.c_float),
        ("layers", ctypes.POINTER(Layer)),
        ("norm", _address),
        ("head", Linear),
        *_fields(_address, "cosines sines"),
    )


class EncoderLayer(ctypes.Structure):
    _fields_ = (
        *((name, Linear) for name in ("qkv", "output", "up", "down")),
        *_fields(_address, "attention_norm attention_shift output_norm output_shift"),
    )


class Encoder(ctypes.Structure):
    _fields_ = (
        *_fields(_int, "num_layers hidden ffn heads head_dim"),
        ("eps", ctypes.c_float),
        ("layers", ctypes.POINTER(EncoderLayer)),
        *_fields(_address, "norm shift"),
    )


class Segment(ctypes.Structure):
    _fields_ = (*_fields(_int, "first length start unused"), ("blocks", _address))


class Step(ctypes.Structure):
    _fields_ = (
        *_fields(_int, "num_rows num_segments num_chosen unused"),
        ("x", _address),
        ("segments", ctypes.POINTER(Segment)),
        *_fields(_address, "chosen logits"),
    )


def address(tensor: Tensor) -> int:
    """Where a contiguous tensor's data lies. The caller keeps the tensor alive."""
    if not tensor.is_contiguous():
        raise ValueError("the kernels read contiguous tensors only")
    return tensor.data_ptr()


def usable_cores(quota: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """Processors that this process may use: its affinity, cut to the quota of its container (cgroup v2)."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        allowed, period = quota.read_text(encoding="ascii").split()
        return max(1, min(cores, int(allowed) // int(period)))
    except (OSError, ValueError):  # no such file, or "max": no quota
        return cores


def default_threads() -> int:
    """Threads of a step unless the settings say otherwise. They wait for each other many times a step, so that
    more than a few cost more than they bring."""
    return min(usable_cores(), MOST_THREADS)


class Team:
    """Threads that compute steps together. One call at a time.

    ``instructions`` asks for one instruction set, for the whole process; empty means the best there is. Raises
    ``KernelsUnavailable``.
    """

    def __init__(self, num_threads: int = 0, instructions: InstructionSet = "") -> None:
        self._library = load_library()
        new, free = self._library.tessera_team_new, self._library.tessera_team_free
        new.restype, new.argtypes = _address, [ctypes.c_int]
        free.restype, free.argtypes = None, [_address]
        self._forward = self._library.tessera_forward
        self._forward.argtypes = [_address, ctypes.POINTER(Model), ctypes.POINTER(Step)]
        self._linear = self._library.tessera_linear
        self._linear.argtypes = [_address, ctypes.POINTER(Linear), _address, ctypes.c_int, _address]
        self._encode = self._library.tessera_encode
        self._encode.argtypes = [_address, ctypes.POINTER(Encoder), _address, _address, ctypes.c_int]
        if self._library.tessera_select(instructions.encode()) != 0:
            raise KernelsUnavailable(f"This processor lacks {instructions or 'AVX2'}.")
        self._team: int | None = new(num_threads or default_threads())
        if not self._team:
            raise MemoryError("no threads for the kernels")
        self._process = os.getpid()
        # At the end of the process a step may still run on the team; the system takes its memory back then.
        weakref.finalize(self, _free, free, self._team, self._process).atexit = False

    def forward(self, model: Model, step: Step) -> None:
        """Runs one step; see ``tessera_forward``. Raises ``MemoryError``; nothing was written then. In a forked
        child, which has none of the threads, it raises ``KernelsUnavailable``."""
        if os.getpid() != self._process:
            raise KernelsUnavailable("A forked process must load its models itself.")
        if self._forward(self._team, ctypes.byref(model), ctypes.byref(step)) != 0:
            raise MemoryError("no memory for a step")

    def encode(self, model: Encoder, x: Tensor, starts: Tensor) -> None:
        """Turns ``x``, fp32 ``[tokens, hidden]``, from embeddings into hidden states, in place. ``starts`` int32
        says where each sequence begins and, last, where all end. Raises as :meth:`forward` does."""
        if os.getpid() != self._process:
            raise KernelsUnavailable("A forked process must load its models itself.")
        if self._encode(self._team, ctypes.byref(model), address(x), address(starts), len(starts) - 1) != 0:
            raise MemoryError("no memory for a step")

    def linear(self, layer: Linear, x: Tensor) -> Tensor:
        """One layer by itself: fp32 ``[rows, k] -> [rows, n]``. Raises ``MemoryError``."""
        out, x = x.new_empty(len(x), layer.n), x.contiguous()
        if self._linear(self._team, ctypes.byref(layer), address(x), len(x), address(out)) != 0:
            raise MemoryError("no memory for a layer")
        return out


def _free(free: Callable[[int], None], team: int, process: int) -> None:
    """Ends a team; not in a forked child, which would wait for threads that it does not have."""
    if os.getpid() == process:
        free(team)
