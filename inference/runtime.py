"""The models of this process: loaded once, behind a running server, and found by everybody who needs them.

The composition root calls :func:`install` with what :func:`load_in_background` returns; views and tasks ask
:func:`current`. What always holds: asking never blocks and never returns half a model, it answers or raises
``NotReady``; when loading failed, every later question says why.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

from inference import catalog
from inference.config import EngineConfig, Kernels
from inference.embedder import Embedder, SentenceTransformerEmbedder
from inference.engine.lane import ComputeLane
from inference.errors import InferenceError, LoadingFailed, NotReady, WeightsMissing
from inference.pins import CATALOG
from inference.request import TextGenerator

logger = logging.getLogger(__name__)

State = Literal["loading", "ready", "restarting", "failed"]
ENGINE_DIED = "The engine failed; its process must be restarted. The log says why."
ENGINE_RESTARTS = "The engine crashed and is started again; the log says why."
RETRY_FAILED_S = 5.0
"""How often a service whose models failed is asked whether it was mended."""


@runtime_checkable
class Mortal(Protocol):
    """A generator that knows whether it still works, as the engine does. ``died``: for good."""

    @property
    def died(self) -> bool: ...

    @property
    def recovering(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class RuntimeConfig:
    """Which models to run and where. Names are of the catalogue; ``generator`` and ``embedder`` may also
    be paths of a GGUF file, a safetensors folder or a sentence-transformers folder. With a
    ``remote_url`` both models are asked for over the network instead and nothing is loaded."""

    generator: str = "qwen2.5-coder-0.5b-instruct"
    embedder: str = "all-MiniLM-L6-v2"
    models_dir: Path | None = None
    fetch_missing: bool = True
    hub_url: str = catalog.DEFAULT_HUB_URL
    weight_format: Literal["fp32", "bf16", "int8", "int4"] = "int8"
    kernels: Kernels = "auto"
    device: str = "cpu"
    kv_cache_tokens: int = 65_536
    max_model_len: int = 4_096
    max_batched_tokens: int = 512
    max_running_requests: int = 32
    max_queued_requests: int = 256
    num_threads: int = 0
    remote_url: str | None = None
    remote_api_key: str = ""
    remote_model: str | None = None
    remote_embedding_model: str | None = None


class Runtime:
    """The generator and the embedder of this process, and how far they are. Thread-safe."""

    def __init__(self, detail: str = "No models were asked for in this process.") -> None:
        self._lock = threading.Lock()
        self._settled = threading.Event()
        self._state: State = "loading"
        self._detail = detail
        self._generator: TextGenerator | None = None
        self._embedder: Embedder | None = None
        self._stopped = False

    @classmethod
    def of(cls, generator: TextGenerator | None = None, embedder: Embedder | None = None) -> Runtime:
        """A runtime that is ready with the given models."""
        runtime = cls()
        runtime._set(generator=generator, embedder=embedder)
        runtime._settle("ready", "The models are ready.")
        return runtime

    @property
    def state(self) -> State:
        """``failed`` when loading failed or the engine died since, ``restarting`` after a crash that it survives."""
        if self.engine_died:
            return "failed"
        return "restarting" if self.engine_recovering else self._state

    @property
    def engine_died(self) -> bool:
        """Whether the models were ready and their engine died since; only a new process mends that."""
        generator: object = self._generator
        return isinstance(generator, Mortal) and generator.died

    @property
    def engine_recovering(self) -> bool:
        """Whether the engine crashed and is about to be started again."""
        generator: object = self._generator
        return isinstance(generator, Mortal) and generator.recovering

    @property
    def detail(self) -> str:
        """A sentence for people: what is being loaded, or why it failed."""
        if self.engine_died:
            return ENGINE_DIED
        return ENGINE_RESTARTS if self.engine_recovering else self._detail

    @property
    def generator(self) -> TextGenerator:
        """Raises ``NotReady`` while there is none, ``LoadingFailed`` when none will come."""
        if self._generator is None:
            raise self._absent()
        return self._generator

    @property
    def embedder(self) -> Embedder:
        """Raises as :attr:`generator` does. It is there before the generator."""
        if self._embedder is None:
            raise self._absent()
        return self._embedder

    def wait(self, timeout_s: float | None = None) -> State:
        """Waits until loading ended, one way or the other, or the time is over; returns the state."""
        self._settled.wait(timeout_s)
        return self._state

    def stop(self) -> None:
        """Stops the generator; what is still loading is stopped when it arrives."""
        with self._lock:
            self._stopped = True
            generator, self._generator = self._generator, None
            self._detail = "The models were stopped."
        if generator is not None:
            generator.stop()

    def _absent(self) -> NotReady:
        failed = self._state == "failed" and not self._stopped
        return LoadingFailed(self._detail) if failed else NotReady(self._detail)

    def _say(self, detail: str) -> None:
        with self._lock:
            if not self._stopped:
                self._detail = detail

    def _set(self, *, generator: TextGenerator | None = None, embedder: Embedder | None = None) -> None:
        with self._lock:
            self._embedder = embedder or self._embedder
            if not self._stopped:
                self._generator = generator or self._generator
                return
        if generator is not None:
            generator.stop()

    def _settle(self, state: State, detail: str) -> None:
        with self._lock:
            self._state = state
            if not self._stopped:
                self._detail = detail
        self._settled.set()


def load(config: RuntimeConfig, runtime: Runtime) -> None:
    """Loads the embedder, then the generator, into ``runtime``. Never raises: failures become its state."""
    try:
        if config.remote_url is not None:
            _connect_in_the_end(config, config.remote_url, runtime)
        else:
            lane = ComputeLane()
            runtime._set(embedder=_load_embedder(config, runtime, lane))
            runtime._set(generator=_load_generator(config, runtime, lane))
        runtime._settle("ready", "The models are ready.")
    except InferenceError as error:
        logger.error("loading the models failed: %s", error)
        runtime._settle("failed", f"{error} {error.hint}")
    except Exception as error:
        logger.exception("loading the models failed")
        runtime._settle(
            "failed", f"Loading the models failed ({type(error).__name__}); see the server's log."
        )


def load_in_background(config: RuntimeConfig) -> Runtime:
    """Starts :func:`load` on a thread of its own and returns at once."""
    runtime = Runtime("The models are about to be loaded.")
    threading.Thread(target=load, args=(config, runtime), name="load-models", daemon=True).start()
    return runtime


def _connect_in_the_end(config: RuntimeConfig, url: str, runtime: Runtime) -> None:
    """Says at once that the service's models failed, and still connects once somebody has mended it."""
    runtime._say(f"Waiting for the inference service at {url}.")
    while True:
        try:
            return _connect(config, url, runtime)
        except LoadingFailed as error:
            logger.error("the inference service at %s failed: %s", url, error)
            runtime._settle("failed", f"The inference service failed: {error} {error.hint}")
            if runtime._stopped:
                raise
            time.sleep(RETRY_FAILED_S)


def _connect(config: RuntimeConfig, url: str, runtime: Runtime) -> None:
    from inference.engine.remote import RemoteEmbedder, RemoteGenerator

    key, for_ever, stopped = config.remote_api_key, float("inf"), lambda: runtime._stopped
    runtime._set(
        embedder=RemoteEmbedder.connect(
            url, api_key=key, model=config.remote_embedding_model, wait_s=for_ever, cancelled=stopped
        )
    )
    runtime._set(
        generator=RemoteGenerator.connect(
            url, api_key=key, model=config.remote_model, wait_s=for_ever, cancelled=stopped
        )
    )


def _load_embedder(config: RuntimeConfig, runtime: Runtime, lane: ComputeLane) -> Embedder:
    folder = _weights(config.embedder, config, runtime)
    runtime._say(f"Loading the embedder {_name(config.embedder)}.")
    return SentenceTransformerEmbedder(folder, _name(config.embedder), config.device, lane)


def _load_generator(config: RuntimeConfig, runtime: Runtime, lane: ComputeLane) -> TextGenerator:
    from inference.engine.engine import Engine

    file = _weights(config.generator, config, runtime)
    runtime._say(f"Loading the language model {_name(config.generator)}.")
    return Engine.start(
        EngineConfig(
            model_path=file,
            model_name=_name(config.generator),
            weight_format=config.weight_format,
            kernels=config.kernels,
            device=config.device,
            kv_cache_tokens=config.kv_cache_tokens,
            max_model_len=config.max_model_len,
            max_batched_tokens=config.max_batched_tokens,
            max_running_requests=config.max_running_requests,
            max_queued_requests=config.max_queued_requests,
            num_threads=config.num_threads,
        ),
        lane=lane,
    )


def _name(model: str) -> str:
    return model if model in CATALOG else Path(model).name.removesuffix(".gguf")


def _weights(model: str, config: RuntimeConfig, runtime: Runtime) -> Path:
    """The model's files: a path as it is, a name from the cache, fetched first where that is allowed."""
    if model not in CATALOG and Path(model).exists():
        return Path(model)
    try:
        runtime._say(f"Verifying the weights of {model}.")
        return catalog.path(model, config.models_dir)
    except WeightsMissing:
        if not config.fetch_missing or model not in CATALOG:
            raise
    return catalog.fetch(model, config.models_dir, progress=_progress(model, runtime), hub_url=config.hub_url)


def _progress(model: str, runtime: Runtime) -> Callable[[int, int], None]:
    def report(done: int, total: int) -> None:
        runtime._say(f"Downloading {model}: {done >> 20} of {total >> 20} MiB.")

    return report


_installed: Runtime | None = None


def install(runtime: Runtime) -> None:
    """Makes ``runtime`` the one of this process."""
    global _installed
    _installed = runtime


def uninstall() -> None:
    """Forgets the installed runtime; it is not stopped."""
    global _installed
    _installed = None


def current() -> Runtime:
    """The installed runtime, or one that is never ready when nothing was installed."""
    return _installed if _installed is not None else Runtime()
