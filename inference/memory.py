"""Bytes that a model of a shape takes on the compiled kernels, without its weights: the sizes that ``NativeDecoder`` packs."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, replace

from inference.config import KVCacheFormat, ModelConfig
from inference.model.source import EMBEDDING, expected_shapes
from inference.quantization.base import WeightFormat
from inference.quantization.int4 import GROUP_SIZE

PANEL = 32
_LLAMA = ModelConfig(
    architecture="llama",
    vocab_size=32_000,
    hidden_size=4096,
    intermediate_size=11_008,
    num_hidden_layers=32,
    num_attention_heads=32,
    num_key_value_heads=32,
    head_dim=128,
    rms_norm_eps=1e-5,
    rope_theta=10_000.0,
    max_position_embeddings=4096,
    tie_word_embeddings=False,
)
SHAPES = {
    "7b": _LLAMA,
    "13b": replace(
        _LLAMA,
        hidden_size=5120,
        intermediate_size=13_824,
        num_hidden_layers=40,
        num_attention_heads=40,
        num_key_value_heads=40,
    ),
    "70b": replace(
        _LLAMA,
        hidden_size=8192,
        intermediate_size=28_672,
        num_hidden_layers=80,
        num_attention_heads=64,
        num_key_value_heads=8,
    ),
}
"""Llama 2's."""


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """Bytes. ``matrices`` with their scales; ``tables`` are the output layer and the embedding."""

    matrices: int
    tables: int
    vectors: int
    keys_and_values: int

    @property
    def weights(self) -> int:
        return self.matrices + self.tables + self.vectors


def kv_vector_bytes(head_dim: int, weight_format: WeightFormat, kv_format: KVCacheFormat) -> int:
    """Of a key or a value of one head. ``auto`` is fp32 beside fp32 weights, else bf16; int8 has an fp32 scale."""
    return head_dim + 4 if kv_format == "int8" else head_dim * (4 if weight_format == "fp32" else 2)


def kv_bytes_per_token(config: ModelConfig, weight_format: WeightFormat, kv_format: KVCacheFormat) -> int:
    """Of the keys and values of all heads and layers."""
    vector = kv_vector_bytes(config.head_dim, weight_format, kv_format)
    return 2 * config.num_hidden_layers * config.num_key_value_heads * vector


def plan(
    config: ModelConfig, weight_format: WeightFormat, kv_tokens: int, kv_format: KVCacheFormat = "auto"
) -> MemoryPlan:
    """``kv_tokens`` counts tokens of the cache. Biases, of families that have them, and rotary tables are left out:
    they are far below a thousandth."""
    matrices = tables = vectors = 0
    four_bits = weight_format == "int4"
    for name, shape in expected_shapes(config).items():
        if len(shape) == 1:
            vectors += 4 * shape[0]
        elif name not in (EMBEDDING, "lm_head.weight"):
            matrices += _packed(shape[0], shape[1], weight_format)
        elif name == EMBEDDING and not config.tie_word_embeddings and weight_format == "int8":
            tables += 2 * shape[0] * shape[1]  # read row by row, in bf16
        else:
            tables += _packed(shape[0], shape[1], "int8" if four_bits else weight_format)
    return MemoryPlan(
        matrices, tables, vectors, kv_bytes_per_token(config, weight_format, kv_format) * kv_tokens
    )


def _packed(out: int, inputs: int, weight_format: WeightFormat) -> int:
    rows = -(-out // PANEL) * PANEL
    if (
        weight_format == "int4"
    ):  # codes; a byte of scale and half a byte of zero point a group; the row's scale
        return rows * (inputs // 2 + inputs // GROUP_SIZE * 3 // 2 + 4)
    return (
        rows * (inputs + 4)
        if weight_format == "int8"
        else rows * inputs * (4 if weight_format == "fp32" else 2)
    )


def return_freed_memory() -> None:
    """Gives freed pages back to the system, which glibc's allocator would keep: after a model was packed, as much as
    its weights (Qwen2.5-Coder-0.5B in int8: 430 MB beside 730)."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
