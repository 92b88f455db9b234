"""The parts of a decoder layer, with projections fused when they are packed.

Activations are fp32 ``[n, hidden]``: the ``n`` tokens of a step side by side, whatever sequences they belong
to. No part mixes rows except attention."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from inference.attention.base import AttentionBackend
from inference.config import ModelConfig
from inference.model.rope import rotate
from inference.model.source import NORMS, PROJECTIONS, WeightSource, in_four_bits, joined_bias, optional
from inference.quantization.base import LinearMethod, PackedLinear
from inference.quantization.int4 import Int4Method


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """Root mean square norm (arXiv:1910.07467) of each row."""
    return weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps))


def pack_fused(source: WeightSource, method: LinearMethod, names: Sequence[str]) -> PackedLinear:
    """Packs several projections of the same input as one: the outputs lie side by side in the order of
    ``names``."""
    matrices, bias = [f"{name}.weight" for name in names], joined_bias(source, names)
    if isinstance(method, Int4Method):
        return method.keep(in_four_bits(source, matrices), bias)
    return method.pack(torch.cat([source.tensor(name) for name in matrices]), bias)


class DecoderLayer:
    """Attention and a SwiGLU MLP, each behind a norm and a residual."""

    def __init__(
        self, index: int, source: WeightSource, config: ModelConfig, method: LinearMethod, device: str
    ) -> None:
        prefix = f"model.layers.{index}"
        self._index = index
        self._config = config
        width, kv = config.num_attention_heads * config.head_dim, config.num_key_value_heads * config.head_dim
        self._sizes = [width, kv, kv]
        self._qkv, self.output, self._gate_up, self.down = (
            pack_fused(source, method, [f"{prefix}.{name}" for name in names])
            for names in PROJECTIONS.values()
        )
        norms = [optional(source, f"{prefix}.{name}.weight") for name in NORMS.values()]
        self._norms = [None if norm is None else norm.to(device) for norm in norms]

    def __call__(self, x: Tensor, cos: Tensor, sin: Tensor, attention: AttentionBackend) -> Tensor:
        before_attention, before_mlp, _, _ = self._norms
        x = x + self._attend(self._normed(x, before_attention), cos, sin, attention)
        gate, up = self._gate_up(self._normed(x, before_mlp)).chunk(2, dim=-1)
        return x + self.down(F.silu(gate) * up)

    def _attend(self, x: Tensor, cos: Tensor, sin: Tensor, attention: AttentionBackend) -> Tensor:
        query, key, value = (
            part.view(len(x), -1, self._config.head_dim)
            for part in torch.split(self._qkv(x), self._sizes, dim=-1)
        )
        _, _, query_norm, key_norm = self._norms
        query, key = self._normed(query, query_norm), self._normed(key, key_norm)
        attention.write(self._index, rotate(key, cos, sin), value)
        mixed = attention.attend(self._index, rotate(query, cos, sin))
        return self.output(mixed.reshape(len(x), -1))

    def _normed(self, x: Tensor, weight: Tensor | None) -> Tensor:
        return x if weight is None else rms_norm(x, weight, self._config.rms_norm_eps)
