"""Rotary position embeddings (Su et al., arXiv:2104.09864) in rotate-half layout, with Llama 3's scaling."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from inference.config import ModelConfig, RopeScaling


def inverse_frequencies(config: ModelConfig) -> Tensor:
    """``[head_dim / 2]`` fp32, scaled where the configuration asks for it."""
    exponents = torch.arange(0, config.head_dim, 2, dtype=torch.int64).float() / config.head_dim
    frequencies = 1.0 / (config.rope_theta**exponents)
    scaling = config.rope_scaling
    return frequencies if scaling is None or scaling.factor == 1.0 else _scale_llama3(frequencies, scaling)


def _scale_llama3(frequencies: Tensor, scaling: RopeScaling) -> Tensor:
    """Divides low frequencies by ``factor``, keeps high ones, and blends between (Llama 3.1)."""
    context = scaling.original_max_position_embeddings
    wavelengths = 2 * math.pi / frequencies
    blend = (context / wavelengths - scaling.low_freq_factor) / (
        scaling.high_freq_factor - scaling.low_freq_factor
    )
    blend = blend.clamp(0.0, 1.0)
    return (1 - blend) * frequencies / scaling.factor + blend * frequencies


class RotaryEmbedding:
    """Cosines and sines for all positions below ``max_positions``, computed once in fp32."""

    def __init__(self, config: ModelConfig, max_positions: int, device: str) -> None:
        angles = torch.outer(torch.arange(max_positions).float(), inverse_frequencies(config))
        doubled = torch.cat((angles, angles), dim=-1)
        self._cos = doubled.cos().to(device)
        self._sin = doubled.sin().to(device)

    def at(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and sines ``[n, 1, head_dim]`` for ``positions`` ``[n]``, the same for every layer of a
        step.
        """
        return self._cos[positions].unsqueeze(1), self._sin[positions].unsqueeze(1)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotates heads ``[n, heads, head_dim]`` to their positions."""
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-second, first), dim=-1) * sin
