"""What to run: the shape of a model and the limits of an engine, as frozen values."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, slots=True)
class RopeScaling:
    """Llama-3 style frequency scaling; ``factor == 1`` means none."""

    factor: float = 1.0
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    original_max_position_embeddings: int = 8192


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """The shape of a decoder of the Llama or Qwen2 family, under the names of Hugging Face's ``config.json``."""

    architecture: Literal["llama", "qwen2"]
    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    rms_norm_eps: float
    rope_theta: float
    max_position_embeddings: int
    tie_word_embeddings: bool
    attention_bias: bool = False
    rope_scaling: RopeScaling | None = None
    eos_token_ids: tuple[int, ...] = ()
    bos_token_id: int | None = None


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """Limits of one engine. Sizes are tokens unless the name says otherwise."""

    model_path: Path
    model_name: str
    weight_format: Literal["fp32", "bf16", "int8"] = "fp32"
    device: str = "cpu"
    block_size: int = 16
    kv_cache_tokens: int = 65_536
    max_model_len: int = 4_096
    max_batched_tokens: int = 512
    max_running_requests: int = 32
    max_queued_requests: int = 256
    max_queued_tokens: int = 1_000_000
    prefix_caching: bool = True
    num_threads: int = 0
    """Torch's intra-op threads; 0 keeps torch's own choice."""
