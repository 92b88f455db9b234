"""What to run: the shape of a model and the limits of an engine, as frozen values."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Kernels = Literal["auto", "avx512", "avx2", "off"]
KVCacheFormat = Literal["auto", "int8"]
"""``auto``: bf16 by the compiled kernels, fp32 by torch."""
EmbeddingFormat = Literal["auto", "fp32", "bf16", "int8"]
"""``auto``: int8 where the compiled kernels can run the model, else fp32."""
Architecture = Literal["llama", "mistral", "qwen2", "qwen3"]


@dataclass(frozen=True, slots=True)
class RopeScaling:
    """How rotary frequencies are scaled, under the names of ``config.json``; ``factors`` (of a GGUF file) divides
    each of them."""

    factor: float = 1.0
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    original_max_position_embeddings: int = 8192
    kind: Literal["llama3", "linear", "yarn", "factors"] = "llama3"
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    truncate: bool = True
    attention_factor: float = 1.0
    """Multiplies cosines and sines."""
    factors: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """The shape of a decoder, under the names of Hugging Face's ``config.json``. Where a model slides its attention
    over a window, ``max_position_embeddings`` is at most that window."""

    architecture: Architecture
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
    rope_scaling: RopeScaling | None = None
    eos_token_ids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """Limits of one engine. Sizes are tokens unless the name says otherwise."""

    model_path: Path
    model_name: str
    weight_format: Literal["fp32", "bf16", "int8", "int4"] = "fp32"
    device: str = "cpu"
    kernels: Kernels = "auto"
    """Compiled kernels for int8, int4 and bf16 on the processor: the best there are, one instruction set, or none."""
    block_size: int = 16
    kv_cache_tokens: int = 65_536
    kv_cache_format: KVCacheFormat = "auto"
    max_model_len: int = 4_096
    max_batched_tokens: int = 512
    max_running_requests: int = 32
    max_queued_requests: int = 256
    max_queued_tokens: int = 1_000_000
    prefix_caching: bool = True
    speculation: int | None = None
    """Up to so many requests that decode at once draft tokens from their prompts, which changes no output; 0 never.
    None: as many as it pays for, where the model's rows do not depend on company to the bit."""
    num_threads: int = 0
    """Threads of a step; 0 takes what this process may use, 16 at most."""
    max_restarts: int = 3
    """How often within ten minutes the engine is started again after a crash of its own."""
    price_per_hour: float = 0.0
    """What an hour of this machine costs, in any currency; 0 leaves costs out of the metrics."""
