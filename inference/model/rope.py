"""Rotary position embeddings (Su et al., arXiv:2104.09864) in rotate-half layout, with the scalings that checkpoints
name: Llama 3's, linear, YaRN (Peng et al., arXiv:2309.00071), and given factors."""

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
    if scaling is None:
        return frequencies
    if scaling.kind == "factors":
        return frequencies / torch.tensor(scaling.factors)
    if scaling.kind == "linear":
        return frequencies / scaling.factor
    kept = _kept_by_yarn(config, scaling) if scaling.kind == "yarn" else _kept_by_llama3(frequencies, scaling)
    return (1 - kept) * frequencies / scaling.factor + kept * frequencies


def _kept_by_llama3(frequencies: Tensor, scaling: RopeScaling) -> Tensor:
    """1 for high frequencies, 0 for low ones, and a blend between (Llama 3.1)."""
    turns = scaling.original_max_position_embeddings * frequencies / (2 * math.pi)
    span = scaling.high_freq_factor - scaling.low_freq_factor
    return ((turns - scaling.low_freq_factor) / span).clamp(0.0, 1.0)


def _kept_by_yarn(config: ModelConfig, scaling: RopeScaling) -> Tensor:
    """1 for dimensions that turn more than ``beta_fast`` times in the original context, 0 below ``beta_slow``."""

    def dimension(turns: float) -> float:
        wavelength = scaling.original_max_position_embeddings / (turns * 2 * math.pi)
        return config.head_dim * math.log(wavelength) / (2 * math.log(config.rope_theta))

    low, high = dimension(scaling.beta_fast), dimension(scaling.beta_slow)
    if scaling.truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, config.head_dim - 1)
    ramp = (torch.arange(config.head_dim // 2).float() - low) / (high - low if high != low else 0.001)
    return 1 - ramp.clamp(0.0, 1.0)


def rotations(config: ModelConfig, max_positions: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines of all positions below ``max_positions``, each fp32 ``[max_positions, head_dim / 2]``."""
    angles = torch.outer(torch.arange(max_positions).float(), inverse_frequencies(config))
    factor = config.rope_scaling.attention_factor if config.rope_scaling else 1.0
    return angles.cos() * factor, angles.sin() * factor


def mean_rotated(config: ModelConfig, bias: Tensor) -> Tensor:
    """What a bias of keys ``[kv_heads * head_dim]`` adds to a key on the average of the first 1,024 positions; the same
    shape. Attention does not change when every key loses the same."""
    cos, sin = rotations(config, 1024)
    heads = bias.float().view(1, -1, config.head_dim)
    return rotate(heads, cos[:, None], sin[:, None]).mean(0).flatten()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotates heads ``[n, heads, head_dim]`` to their positions, by cosines and sines ``[n, 1, head_dim / 2]``."""
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)
