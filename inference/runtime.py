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
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from inference import catalog
from inference.config import EmbeddingFormat, EngineConfig, Kernels, KVCacheFormat
from inference.embedder import Embedder, SentenceTransformerEmbedder
from inference.errors import InferenceError, InvalidRequest, LoadingFailed, NotReady, WeightsMissing
from inference.lane import ComputeLane
from inference.pins import CATALOG
from inference.request import Health, TextGenerator
from inference.routes import ENGINE, Remote, Route

if TYPE_CHECKING:
    from inference.routed import Backend

logger = logging.getLogger(__name__)

T = TypeVar("T")
State = Literal["loading", "ready", "restarting", "failed"]
SICK = {
    "restarting": "The engine crashed and is started again; the log says why.",
    "failed": "The engine failed; its process must be restarted. The log says why.",
}
SILENCE_S = 35.0
"""Our service sends a sign of life every 10 s: one that misses three hangs."""
RETRY_FAILED_S = 5.0
"""How often a service whose models failed is asked whether it was mended."""


@dataclass(frozen=True, slots=True)
class RuntimeConfig:
    """Which models to run and where. Names are of the catalogue; ``generator`` and ``embedder`` may also
    be paths of a GGUF file, a safetensors folder or a sentence-transformers folder. With a
    ``remote_url`` both models are asked for over the network instead and nothing is loaded. With ``routes`` each
    name is answered by its backends; without, the generator answers whatever is asked for. Without the name of a
    ``generator`` the embedder alone is loaded."""

    generator: str = "qwen2.5-coder-0.5b-instruct"
    embedder: str = "all-MiniLM-L6-v2"
    models_dir: Path | None = None
    fetch_missing: bool = True
    hub_url: str = catalog.DEFAULT_HUB_URL
    weight_format: Literal["fp32", "bf16", "int8", "int4"] = "int8"
    embedding_format: EmbeddingFormat = "auto"
    kernels: Kernels = "auto"
    device: str = "cpu"
    kv_cache_tokens: int = 65_536
    kv_cache_format: KVCacheFormat = "auto"
    max_model_len: int = 4_096
    max_batched_tokens: int = 512
    max_running_requests: int = 32
    max_queued_requests: int = 256
    num_threads: int = 0
    speculation: int | None = None
    price_per_hour: float = 0.0
    remotes: tuple[Remote, ...] = ()
    routes: tuple[Route, ...] = ()
    remote_url: str | None = None
    remote_api_key: str = ""


class Runtime:
    """The generator and the embedder of this process, and how far they are. Thread-safe."""

    def __init__(self, detail: str = "No models were asked for in this process.") -> None:
        self._lock = threading.Lock()
        self._settled = threading.Event()
        self._state: State = "loading"
        self._detail = detail
        self._generators: tuple[TextGenerator, ...] = ()
        self._embedder: Embedder | None = None
        self._stopped = False
        self.routed = False

    @classmethod
    def of(cls, generator: TextGenerator | None = None, embedder: Embedder | None = None) -> Runtime:
        """A runtime that is ready with the given models."""
        runtime = cls()
        runtime._set(*([generator] if generator is not None else []), embedder=embedder)
        runtime._settle("ready", "The models are ready.")
        return runtime

    @property
    def health(self) -> Health:
        """Of the engine, once there is one: ``failed`` when it died, which only a new process mends."""
        return self._generators[0].health if self._generators else "ok"

    @property
    def state(self) -> State:
        """``failed`` when loading failed or the engine died since, ``restarting`` after a crash that it survives."""
        health = self.health
        return self._state if health == "ok" else health

    @property
    def detail(self) -> str:
        """A sentence for people: what is being loaded, or why it failed."""
        return SICK.get(self.health, self._detail)

    @property
    def generator(self) -> TextGenerator:
        """That of the first route. Raises ``NotReady`` while there is none, ``LoadingFailed`` when none will come."""
        if not self._generators:
            raise self._absent()
        return self._generators[0]

    @property
    def generators(self) -> tuple[TextGenerator, ...]:
        """One for each route, the default one first. Raises as :attr:`generator` does."""
        _ = self.generator
        return self._generators

    def generator_of(self, model: str) -> TextGenerator:
        """The generator that answers for a model's name: the default one without a name, and for any name where
        there are no routes. Raises ``InvalidRequest``, and as :attr:`generator` does."""
        for generator in self.generators:
            if not self.routed or model in ("", generator.model_name):
                return generator
        raise InvalidRequest(f"There is no model {model}.", hint="GET /v1/models lists those that there are.")

    @property
    def embedder(self) -> Embedder:
        """Raises as :attr:`generator` does. It is there before the generator."""
        if self._embedder is None:
            raise self._absent()
        return self._embedder

    def metrics(self) -> dict[str, float]:
        """The samples of every route, each once. Raises as :attr:`generator` does, and ``InferenceError`` when a
        service far away does not answer."""
        values: dict[str, float] = {}
        for generator in self.generators:
            values |= generator.metrics()
        return values

    def wait(self, timeout_s: float | None = None) -> State:
        """Waits until loading ended, one way or the other, or the time is over; returns the state."""
        self._settled.wait(timeout_s)
        return self._state

    def stop(self) -> None:
        """Stops the generator; what is still loading is stopped when it arrives."""
        with self._lock:
            self._stopped = True
            generators, self._generators = self._generators, ()
            self._detail = "The models were stopped."
        for generator in generators:
            generator.stop()

    def _absent(self) -> NotReady:
        failed = self._state == "failed" and not self._stopped
        return LoadingFailed(self._detail) if failed else NotReady(self._detail)

    def _say(self, detail: str) -> None:
        with self._lock:
            if not self._stopped:
                self._detail = detail

    def _set(self, *generators: TextGenerator, embedder: Embedder | None = None) -> None:
        with self._lock:
            self._embedder = embedder or self._embedder
            if not self._stopped:
                self._generators = generators or self._generators
                return
        for generator in generators:
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
        embedder, engine = _sources(config, runtime)
        runtime._set(embedder=embedder())
        if config.routes:
            _open_routes(config, runtime, engine)
        elif config.generator:
            runtime._set(engine())
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


def _connect_in_the_end(url: str, runtime: Runtime, connect: Callable[[], T]) -> T:
    """Says at once that the service's models failed, and still connects once somebody has mended it."""
    runtime._say(f"Waiting for the inference service at {url}.")
    while True:
        try:
            return connect()
        except LoadingFailed as error:
            logger.error("the inference service at %s failed: %s", url, error)
            runtime._settle("failed", f"The inference service failed: {error} {error.hint}")
            if runtime._stopped:
                raise
            time.sleep(RETRY_FAILED_S)


def _sources(
    config: RuntimeConfig, runtime: Runtime
) -> tuple[Callable[[], Embedder], Callable[[], TextGenerator]]:
    """How to get the embedder and the engine: in this process or, over the network, from the service."""
    if config.remote_url is None:
        lane = ComputeLane()
        return partial(_load_embedder, config, runtime, lane), partial(_load_generator, config, runtime, lane)
    from inference.engine.remote.generator import RemoteGenerator
    from inference.remote_embedder import RemoteEmbedder

    url = config.remote_url
    service = Remote("inference", url, api_key=config.remote_api_key, token_timeout_s=SILENCE_S)
    options: dict[str, Any] = {"wait_s": float("inf"), "cancelled": lambda: runtime._stopped}
    return (
        partial(_connect_in_the_end, url, runtime, partial(RemoteEmbedder, service, **options)),
        partial(_connect_in_the_end, url, runtime, partial(RemoteGenerator.connect, service, **options)),
    )


def _open_routes(config: RuntimeConfig, runtime: Runtime, engine: Callable[[], TextGenerator]) -> None:
    """Connects the servers of the routes and, where one leads there, loads the engine. A server that is away is
    connected when it comes; one that is not safe to use is an error now and left out then."""
    from inference.routed import Backend, RoutedGenerator

    backends = {name: Backend(name) for name in (ENGINE, *(remote.name for remote in config.remotes))}
    routes = [RoutedGenerator(r.model, [backends[name] for name in r.backends]) for r in config.routes]
    runtime.routed = True
    for remote in config.remotes:
        runtime._say(f"Connecting {remote.name}.")
        _open_remote(remote, backends[remote.name], runtime)
    if routes[0].ready:  # it can answer while the engine loads
        runtime._set(*routes)
    if any(ENGINE in route.backends for route in config.routes):
        backends[ENGINE].open = engine()
    while not routes[0].ready and not runtime._stopped:
        runtime._say(f"Waiting for a server that answers for {routes[0].model_name}.")
        time.sleep(RETRY_FAILED_S / 10)
    runtime._set(*routes)


def _open_remote(remote: Remote, backend: Backend, runtime: Runtime) -> None:
    """Raises ``InvalidRequest`` for a server that must not be used."""
    from inference.engine.remote.generator import RemoteGenerator
    from inference.loading.tokenizer import load_tokenizer

    def connect() -> None:
        backend.open = RemoteGenerator.connect(remote, tokenizer=tokenizer)
        if runtime._stopped:
            backend.open.stop()

    def connect_in_the_end() -> None:
        while backend.open is None and not runtime._stopped:
            time.sleep(RETRY_FAILED_S)
            try:
                connect()
            except InferenceError as error:
                backend.refusal = error if isinstance(error, NotReady) else NotReady(str(error))

    tokenizer = load_tokenizer(Path(remote.tokenizer)) if remote.tokenizer else None
    try:
        connect()
    except InvalidRequest:
        raise
    except InferenceError as error:
        logger.warning("the backend %s is not there yet: %s", remote.name, error)
        threading.Thread(target=connect_in_the_end, name=f"connect-{remote.name}", daemon=True).start()


def _load_embedder(config: RuntimeConfig, runtime: Runtime, lane: ComputeLane) -> Embedder:
    folder = _weights(config.embedder, config, runtime)
    runtime._say(f"Loading the embedder {_name(config.embedder)}.")
    return SentenceTransformerEmbedder(
        folder,
        _name(config.embedder),
        config.device,
        lane,
        weight_format=config.embedding_format,
        kernels=config.kernels,
        num_threads=config.num_threads,
    )


def _load_generator(config: RuntimeConfig, runtime: Runtime, lane: ComputeLane) -> TextGenerator:
    from inference.engine.engine import Engine

    file = _weights(config.generator, config, runtime)
    runtime._say(f"Loading the language model {_name(config.generator)}.")
    limits = {
        each.name: getattr(config, each.name) for each in fields(EngineConfig) if hasattr(config, each.name)
    }
    return Engine.start(
        EngineConfig(model_path=file, model_name=_name(config.generator), **limits), lane=lane
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
