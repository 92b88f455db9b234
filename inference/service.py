"""The inference service: one engine and one embedder for the web processes and workers of an installation.

A plain ASGI application, started by ``uvicorn --factory inference.service:create_app``. It knows no
organisations: its clients name a share and a cache salt with each request, so only they may hold its
key. What always holds: admission is answered before the first byte of a stream; a client that goes away
aborts its request."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hmac
import json
import os
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable

from inference import wire
from inference.errors import InferenceError, InvalidRequest, NotReady, Overloaded
from inference.exchange import Exchange, Message, Receive, Refused, Send
from inference.quantization.base import WeightFormat
from inference.request import Delta, Finished, GenerationEvent, Handle, PromptTokens
from inference.runtime import Runtime, RuntimeConfig, load_in_background

Chunk = Callable[[str, tuple[int, ...], str | None], wire.Json]

MAX_TEXTS = 2_048
PING_S = 10.0
OPEN_PATHS = ("/healthz", "/readyz")
EVENT_STREAM = "text/event-stream; charset=utf-8"


@runtime_checkable
class TextEncoder(Protocol):
    """A generator that also turns plain text into tokens, as the engine does."""

    def encode(self, text: str) -> list[int]: ...


class InferenceApp:
    """The application. ``runtime`` may still be loading; a generation then answers 503 with
    ``not_ready``."""

    def __init__(self, runtime: Callable[[], Runtime], api_key: str) -> None:
        """``runtime`` is called at start-up. ``api_key`` must not be empty: ``InvalidRequest``."""
        if not api_key:
            raise InvalidRequest(
                "The inference service needs a key.",
                hint="Set TESSERA_INFERENCE_API_KEY to a long random string.",
            )
        self._make_runtime = runtime
        self._runtime: Runtime | None = None
        self._key = api_key.encode()
        self._routes: dict[tuple[str, str], Callable[[Exchange], Awaitable[None]]] = {
            ("GET", "/healthz"): self._health,
            ("GET", "/readyz"): self._ready,
            ("GET", "/metrics"): self._metrics,
            ("GET", "/v1/models"): self._models,
            ("POST", "/v1/completions"): self._completions,
            ("POST", "/v1/chat/completions"): self._chat,
            ("POST", "/v1/embeddings"): self._embeddings,
            ("GET", "/v1/embeddings/tokenizer"): self._embedding_tokenizer,
            ("POST", "/tokenize"): self._tokenize,
        }

    @property
    def runtime(self) -> Runtime:
        if self._runtime is None:
            self._runtime = self._make_runtime()
        return self._runtime

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http":
            await self._serve(Exchange(scope, receive, send))

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                _ = self.runtime
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                await asyncio.to_thread(self.runtime.stop)
                await send({"type": "lifespan.shutdown.complete"})
                return

    async def _serve(self, exchange: Exchange) -> None:
        try:
            route = self._routes.get((exchange.method, exchange.path))
            if exchange.path not in OPEN_PATHS:
                self._authenticate(exchange)
            if route is None:
                raise Refused(404, wire.error_to_json(InvalidRequest("There is nothing at this address.")))
            await route(exchange)
        except Refused as refusal:
            await exchange.answer(refusal.status, refusal.body, refusal.headers)
        except InferenceError as error:
            retry = error.retry_after_s if isinstance(error, Overloaded) else wire.DEFAULT_RETRY_S
            status = wire.STATUS.get(type(error), 500)
            headers = {"retry-after": str(retry)} if status == 503 else None
            await exchange.answer(status, wire.error_to_json(error), headers)

    def _authenticate(self, exchange: Exchange) -> None:
        scheme, _, key = exchange.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(key.strip().encode(), self._key):
            error = InvalidRequest("The key is missing or wrong.", hint="Send it as a bearer token.")
            raise Refused(401, wire.error_to_json(error), {"www-authenticate": "Bearer"})

    # -- state

    async def _health(self, exchange: Exchange) -> None:
        await exchange.answer(200, {"status": "ok"})

    async def _ready(self, exchange: Exchange) -> None:
        runtime = self.runtime
        status = 200 if runtime.state == "ready" else 503
        await exchange.answer(status, {"status": runtime.state, "detail": runtime.detail})

    async def _metrics(self, exchange: Exchange) -> None:
        lines: list[str] = []
        with contextlib.suppress(NotReady):
            generator = self.runtime.generator
            label = json.dumps(generator.model_name)
            for name, value in sorted(generator.metrics().items()):
                lines.append(f"# TYPE vllm:{name} {'counter' if name.endswith('_total') else 'gauge'}")
                lines.append(f"vllm:{name}{{model_name={label}}} {value!r}")
        await exchange.start(200, "text/plain; version=0.0.4; charset=utf-8")
        await exchange.write(("\n".join(lines) + "\n").encode(), more=False)

    async def _models(self, exchange: Exchange) -> None:
        runtime = self.runtime
        entries: list[wire.Json] = []
        with contextlib.suppress(NotReady):
            embedder = runtime.embedder
            sizes = {"dimension": embedder.dimension, "max_tokens": embedder.max_tokens}
            entries.append(_entry(embedder.name, "embed", sizes))
        with contextlib.suppress(NotReady):
            generator = runtime.generator
            entries.append(
                _entry(generator.model_name, "generate", {"max_model_len": generator.max_model_len})
            )
        if runtime.state != "ready" and len(entries) < 2:
            raise NotReady(runtime.detail)
        await exchange.answer(200, {"object": "list", "data": entries})

    # -- tokens and vectors

    async def _tokenize(self, exchange: Exchange) -> None:
        body = await exchange.json()
        generator = self.runtime.generator
        if "messages" in body:
            messages = wire.messages_from_json(body)
            prompt = await asyncio.to_thread(generator.render_chat, messages)
        else:
            prompt = PromptTokens(await asyncio.to_thread(self._encode, wire.text_from_json(body, "prompt")))
        answer = {"count": len(prompt.token_ids), "tokens": list(prompt.token_ids)}
        sizes = {"max_model_len": generator.max_model_len, "public_prefix": prompt.public_prefix}
        await exchange.answer(200, answer | sizes)

    def _encode(self, text: str) -> tuple[int, ...]:
        generator = self.runtime.generator
        if not isinstance(generator, TextEncoder):
            raise InvalidRequest("This model takes prompts as token ids or as messages.")
        return tuple(generator.encode(text))

    async def _embeddings(self, exchange: Exchange) -> None:
        body = await exchange.json()
        texts = body.get("input")
        texts = [texts] if isinstance(texts, str) else texts
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise InvalidRequest("input must be a string or a list of strings.")
        if not 0 < len(texts) <= MAX_TEXTS:
            raise InvalidRequest(f"input must hold 1 to {MAX_TEXTS} texts.")
        embedder = self.runtime.embedder
        if body.get("input_type") == "query":
            vectors = [await asyncio.to_thread(embedder.embed_query, text) for text in texts]
        else:
            vectors = list(await asyncio.to_thread(embedder.embed_passages, texts))
        packed = body.get("encoding_format") == "base64"
        rows = [
            {
                "object": "embedding",
                "index": index,
                "embedding": base64.b64encode(vector.astype("<f4").tobytes()).decode()
                if packed
                else vector.tolist(),
            }
            for index, vector in enumerate(vectors)
        ]
        count = sum(embedder.count_tokens(text) for text in texts)
        usage = {"prompt_tokens": count, "total_tokens": count}
        await exchange.answer(200, {"object": "list", "model": embedder.name, "data": rows, "usage": usage})

    async def _embedding_tokenizer(self, exchange: Exchange) -> None:
        await exchange.answer(200, json.loads(self.runtime.embedder.tokenizer.to_str()))

    # -- generation

    async def _completions(self, exchange: Exchange) -> None:
        body = await exchange.json()
        given = body.get("prompt")
        if isinstance(given, str):
            prompt = PromptTokens(await asyncio.to_thread(self._encode, given))
        else:
            token_ids = wire.token_ids_from_json(given)
            prompt = PromptTokens(token_ids, wire.public_prefix_from_json(body, len(token_ids)))
        await self._generate(exchange, body, prompt, "text_completion", _text_choice)

    async def _chat(self, exchange: Exchange) -> None:
        body = await exchange.json()
        messages = wire.messages_from_json(body)
        prompt = await asyncio.to_thread(self.runtime.generator.render_chat, messages)
        shape = "chat.completion.chunk" if body.get("stream") is True else "chat.completion"
        choice = _delta_choice if body.get("stream") is True else _message_choice
        await self._generate(exchange, body, prompt, shape, choice)

    async def _generate(
        self, exchange: Exchange, body: wire.Json, prompt: PromptTokens, shape: str, choice: Chunk
    ) -> None:
        generator = self.runtime.generator
        handle = generator.submit(
            prompt,
            wire.sampling_from_json(body),
            share=wire.share_from_json(body),
            priority=wire.priority_from_json(body),
            deadline_s=wire.deadline_from_json(body),
        )
        frame = {
            "id": f"cmpl-{uuid.uuid4().hex}",
            "object": shape,
            "created": int(time.time()),
            "model": generator.model_name,
        }
        if body.get("stream") is True:
            await self._stream(exchange, handle, frame, choice)
        else:
            await self._collect(exchange, handle, frame, choice)

    async def _stream(self, exchange: Exchange, handle: Handle, frame: wire.Json, choice: Chunk) -> None:
        try:
            await exchange.start(200, EVENT_STREAM)
            await exchange.write(b": admitted\n\n", more=True)
            async for event in _until_gone(exchange, handle):
                if event is None:
                    await exchange.write(b": ping\n\n", more=True)
                elif isinstance(event, Delta):
                    await exchange.event(frame | {"choices": [choice(event.text, event.token_ids, None)]})
                else:
                    await self._end_stream(exchange, event, frame, choice)
        finally:
            handle.abort()

    async def _end_stream(self, exchange: Exchange, last: Finished, frame: wire.Json, choice: Chunk) -> None:
        usage = {"usage": wire.usage_to_json(last.usage)}
        if last.error is not None:
            await exchange.event(wire.error_to_json(last.error) | usage)
        else:
            await exchange.event(frame | {"choices": [choice("", (), last.reason)]})
            await exchange.event(frame | {"choices": []} | usage)
        await exchange.event("[DONE]")
        await exchange.write(b"", more=False)

    async def _collect(self, exchange: Exchange, handle: Handle, frame: wire.Json, choice: Chunk) -> None:
        pieces: list[Delta] = []
        try:
            async for event in _until_gone(exchange, handle):
                if isinstance(event, Delta):
                    pieces.append(event)
                elif isinstance(event, Finished):
                    if event.error is not None:
                        raise event.error
                    text = "".join(piece.text for piece in pieces)
                    tokens = tuple(token for piece in pieces for token in piece.token_ids)
                    choices = {"choices": [choice(text, tokens, event.reason)]}
                    await exchange.answer(200, frame | choices | {"usage": wire.usage_to_json(event.usage)})
        finally:
            handle.abort()


async def _until_gone(exchange: Exchange, handle: Handle) -> AsyncIterator[GenerationEvent | None]:
    """The request's events, and ``None`` when none came for ``PING_S``; ends early when the client goes
    away."""
    gone: asyncio.Future[Any] = asyncio.ensure_future(exchange.gone())
    events = aiter(handle)
    coming: asyncio.Future[Any] | None = None
    try:
        while True:
            if coming is None:
                coming = asyncio.ensure_future(anext(events))
            await asyncio.wait([gone, coming], timeout=PING_S, return_when=asyncio.FIRST_COMPLETED)
            if coming.done():
                event, coming = coming.result(), None
                yield event
                if isinstance(event, Finished):
                    return
            elif gone.done():
                return
            else:
                yield None
    finally:
        for waiting in (gone, coming):
            if waiting is not None:
                waiting.cancel()


def _entry(name: str, task: str, sizes: wire.Json) -> wire.Json:
    return {"id": name, "object": "model", "created": 0, "owned_by": "tessera", "task": task, **sizes}


def _text_choice(text: str, token_ids: tuple[int, ...], reason: str | None) -> wire.Json:
    return {"index": 0, "text": text, "token_ids": list(token_ids), "logprobs": None, "finish_reason": reason}


def _delta_choice(text: str, token_ids: tuple[int, ...], reason: str | None) -> wire.Json:
    delta = {"role": "assistant", "content": text} if reason is None else {}
    return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}


def _message_choice(text: str, token_ids: tuple[int, ...], reason: str | None) -> wire.Json:
    message = {"role": "assistant", "content": text, "refusal": None}
    return {"index": 0, "message": message, "logprobs": None, "finish_reason": reason}


def config_from_environment() -> RuntimeConfig:
    """The service's settings, from the variables listed in ``docs/models.md``. Raises
    ``InvalidRequest``."""
    defaults = RuntimeConfig()
    read = os.environ.get
    weight_format = read("TESSERA_MODEL_FORMAT", defaults.weight_format)
    if weight_format not in ("fp32", "bf16", "int8"):
        raise InvalidRequest(f"TESSERA_MODEL_FORMAT must be fp32, bf16 or int8, not {weight_format!r}.")
    folder = read("TESSERA_MODELS_DIR")
    try:
        return RuntimeConfig(
            generator=read("TESSERA_MODEL", defaults.generator),
            embedder=read("TESSERA_EMBEDDING_MODEL", defaults.embedder),
            models_dir=Path(folder) if folder else None,
            hub_url=read("TESSERA_HUB_URL", defaults.hub_url),
            weight_format=cast(WeightFormat, weight_format),
            device=read("TESSERA_DEVICE", defaults.device),
            kv_cache_tokens=int(read("TESSERA_KV_CACHE_TOKENS", defaults.kv_cache_tokens)),
            max_model_len=int(read("TESSERA_MAX_MODEL_LEN", defaults.max_model_len)),
            num_threads=int(read("TESSERA_NUM_THREADS", defaults.num_threads)),
        )
    except ValueError as error:
        raise InvalidRequest(f"A setting of the inference service is not a whole number: {error}.") from error


def _key_from_environment() -> str:
    """``TESSERA_INFERENCE_API_KEY``, or the contents of the file that ``TESSERA_INFERENCE_API_KEY_FILE``
    names."""
    file = os.environ.get("TESSERA_INFERENCE_API_KEY_FILE")
    return Path(file).read_text("utf-8").strip() if file else os.environ.get("TESSERA_INFERENCE_API_KEY", "")


def create_app(runtime: Runtime | None = None, api_key: str | None = None) -> InferenceApp:
    """The application; without arguments it reads the environment and loads the models once it is
    started."""
    key = _key_from_environment() if api_key is None else api_key
    if runtime is not None:
        return InferenceApp(lambda: runtime, key)
    config = config_from_environment()
    return InferenceApp(lambda: load_in_background(config), key)
