"""The parts of a decoder layer, with projections fused when they are packed.

Activations are fp32 ``[n, hidden]``: the ``n`` tokens of a step side by side, whatever sequences they belong
to. No part mixes rows except attention.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from inference.attention.base import AttentionBackend
from inference.config import ModelConfig
from inference.model.rope import rotate
from inference.model.source import WeightSource, in_four_bits
from inference.quantization.base import LinearMethod, PackedLinear
from inference.quantization.int4 import Int4Method


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """Root mean square norm (arXiv:1910.07467) of each row."""
    return weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps))


def pack_fused(source: WeightSource, method: LinearMethod, names: Sequence[str]) -> PackedLinear:
    """Packs several projections of the same input as one: the outputs lie side by side in the order of
    ``names``.
    """
    known = set(source.names())
    bias = None
    if any(f"{name}.bias" in known for name in names):
        bias = torch.cat([_bias(source, known, name) for name in names])
    matrices = [f"{name}.weight" for name in names]
    if isinstance(method, Int4Method):
        return method.keep(in_four_bits(source, matrices), bias)
    return method.pack(torch.cat([source.tensor(name) for name in matrices]), bias)


def _bias(source: WeightSource, known: set[str], name: str) -> Tensor:
    if f"{name}.bias" in known:
        return source.tensor(f"{name}.bias")
    return torch.zeros(source.tensor(f"{name}.weight").shape[0])


class DecoderLayer:
    """Attention and a SwiGLU MLP, each behind a norm and a residual."""

    def __init__(
        self, index: int, source: WeightSource, config: ModelConfig, method: LinearMethod, device: str
    ) -> None:
        prefix = f"model.layers.{index}"
        self._index = index
        self._config = config
        self._sizes = [
            config.num_attention_heads * config.head_dim,
            config.num_key_value_heads * config.head_dim,
            config.num_key_value_heads * config.head_dim,
        ]
        attention, mlp = f"{prefix}.self_attn", f"{prefix}.mlp"
        known = set(source.names())
        self._qkv = pack_fused(source, method, [f"{attention}.{name}_proj" for name in "qkv"])
        self.output = pack_fused(source, method, [f"{attention}.o_proj"])
        self._gate_up = pack_fused(source, method, [f"{mlp}.gate_proj", f"{mlp}.up_proj"])
        self.down = pack_fused(source, method, [f"{mlp}.down_proj"])
        self._query_norm, self._key_norm = (
            source.tensor(name).to(device) if (name := f"{attention}.{part}_norm.weight") in known else None
            for part in "qk"
        )
        self._attention_norm = source.tensor(f"{prefix}.input_layernorm.weight").to(device)
        self._mlp_norm = source.tensor(f"{prefix}.post_attention_layernorm.weight").to(device)

    def __call__(self, x: Tensor, cos: Tensor, sin: Tensor, attention: AttentionBackend) -> Tensor:
        eps = self._config.rms_norm_eps
        x = x + self._attend(rms_norm(x, self._attention_norm, eps), cos, sin, attention)
        gate, up = self._gate_up(rms_norm(x, self._mlp_norm, eps)).chunk(2, dim=-1)
        return x + self.down(F.silu(gate) * up)

    def _attend(self, x: Tensor, cos: Tensor, sin: Tensor, attention: AttentionBackend) -> Tensor:
        query, key, value = (
            part.view(len(x), -1, self._config.head_dim)
            for part in torch.split(self._qkv(x), self._sizes, dim=-1)
        )
        eps = self._config.rms_norm_eps
        if self._query_norm is not None and self._key_norm is not None:
            query, key = rms_norm(query, self._query_norm, eps), rms_norm(key, self._key_norm, eps)
        attention.write(self._index, rotate(key, cos, sin), value)
        mixed = attention.attend(self._index, rotate(query, cos, sin))
        return self.output(mixed.reshape(len(x), -1))
