"""Which models this process runs, from the settings: in process, or behind the inference service."""

from __future__ import annotations

from config.env import env
from inference import runtime
from inference.routes import parse_remotes, parse_routes


def runtime_config() -> runtime.RuntimeConfig:
    """The models that the settings name. Raises ``InvalidRequest`` for routes that lead nowhere."""
    e = env()
    remotes = parse_remotes(e.remotes)
    return runtime.RuntimeConfig(
        generator=e.model,
        embedder=e.embedding_model,
        models_dir=e.models_dir,
        hub_url=e.hub_url,
        weight_format=e.model_format,
        embedding_format=e.embedding_format,
        kernels=e.kernels,
        kv_cache_tokens=e.kv_cache_tokens,
        kv_cache_format=e.kv_cache_format,
        max_model_len=e.max_model_len,
        num_threads=e.num_threads,
        speculation=None if e.speculation == "auto" else e.speculation,
        price_per_hour=e.price_per_hour,
        remotes=remotes,
        routes=parse_routes(e.routes, remotes),
        remote_url=e.inference_url or None,
        remote_api_key=e.inference_api_key,
    )


def start_runtime(config: runtime.RuntimeConfig | None = None) -> runtime.Runtime:
    """Starts loading the models (those of the settings unless given) on a thread and installs them for
    :func:`inference.runtime.current`."""
    running = runtime.load_in_background(config or runtime_config())
    runtime.install(running)
    return running
