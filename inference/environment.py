"""The settings of the inference service, read from the environment; the product's own are read by ``config``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import cast, get_args

from inference.config import EmbeddingFormat, Kernels, KVCacheFormat
from inference.errors import InvalidRequest
from inference.quantization.base import WeightFormat
from inference.routes import parse_remotes, parse_routes
from inference.runtime import RuntimeConfig


def config_from_environment() -> RuntimeConfig:
    """The service's settings, from the variables listed in ``docs/models.md``. Raises
    ``InvalidRequest``."""
    defaults = RuntimeConfig()
    read = os.environ.get
    weight_format = read("TESSERA_MODEL_FORMAT", defaults.weight_format)
    if weight_format not in get_args(WeightFormat):
        known = ", ".join(get_args(WeightFormat))
        raise InvalidRequest(f"TESSERA_MODEL_FORMAT must be one of {known}, not {weight_format!r}.")
    kernels = read("TESSERA_KERNELS", defaults.kernels)
    if kernels not in get_args(Kernels):
        raise InvalidRequest(f"TESSERA_KERNELS must be one of {', '.join(get_args(Kernels))}.")
    embedding_format = read("TESSERA_EMBEDDING_FORMAT", defaults.embedding_format)
    if embedding_format not in get_args(EmbeddingFormat):
        known = ", ".join(get_args(EmbeddingFormat))
        raise InvalidRequest(f"TESSERA_EMBEDDING_FORMAT must be one of {known}.")
    speculation = read("TESSERA_SPECULATION", "auto")
    kv_cache_format = read("TESSERA_KV_CACHE_FORMAT", defaults.kv_cache_format)
    if kv_cache_format not in get_args(KVCacheFormat):
        raise InvalidRequest(f"TESSERA_KV_CACHE_FORMAT must be one of {', '.join(get_args(KVCacheFormat))}.")
    folder = read("TESSERA_MODELS_DIR")
    remotes = parse_remotes(secret("TESSERA_REMOTES"))
    try:
        return RuntimeConfig(
            generator=read("TESSERA_MODEL", defaults.generator),
            embedder=read("TESSERA_EMBEDDING_MODEL", defaults.embedder),
            models_dir=Path(folder) if folder else None,
            hub_url=read("TESSERA_HUB_URL", defaults.hub_url),
            embedding_format=cast(EmbeddingFormat, embedding_format),
            weight_format=cast(WeightFormat, weight_format),
            kernels=cast(Kernels, kernels),
            device=read("TESSERA_DEVICE", defaults.device),
            kv_cache_tokens=int(read("TESSERA_KV_CACHE_TOKENS", defaults.kv_cache_tokens)),
            kv_cache_format=cast(KVCacheFormat, kv_cache_format),
            max_model_len=int(read("TESSERA_MAX_MODEL_LEN", defaults.max_model_len)),
            num_threads=int(read("TESSERA_NUM_THREADS", defaults.num_threads)),
            speculation=None if speculation == "auto" else _count(speculation),
            price_per_hour=float(read("TESSERA_PRICE_PER_HOUR", defaults.price_per_hour)),
            remotes=remotes,
            routes=parse_routes(read("TESSERA_ROUTES", ""), remotes),
        )
    except ValueError as error:
        raise InvalidRequest(f"A setting of the inference service is not a number: {error}.") from error


def _count(text: str) -> int:
    if (value := int(text)) < 0:
        raise ValueError(f"{value} is below 0")
    return value


def secret(variable: str) -> str:
    """The variable, or the contents of the file that ``VARIABLE_FILE`` names."""
    file = os.environ.get(f"{variable}_FILE")
    return Path(file).read_text("utf-8").strip() if file else os.environ.get(variable, "")
