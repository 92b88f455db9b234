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
import threading
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import CancelledError, ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from typing import Any

from inference import wire
from inference.choices import Choices, Kind
from inference.embedder import Vectors
from inference.engine.metrics import exposition
from inference.environment import config_from_environment, secret
from inference.errors import InferenceError, InvalidRequest, LoadingFailed, NotReady, Overloaded
from inference.exchange import Exchange, Message, Receive, Refused, Send
from inference.request import (
    Delta,
    Finished,
    GenerationEvent,
    Handle,
    PromptTokens,
    TextGenerator,
)
from inference.runtime import Runtime, load_in_background

MAX_TEXTS = 2_048
PING_S = 10.0
BATCH_THREADS = 2
"""Threads of their own for passages: queries and prompts never wait for one behind them."""
OPEN_PATHS = ("/healthz", "/readyz")
EVENT_STREAM = "text/event-stream; charset=utf-8"


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
        self._batches = ThreadPoolExecutor(BATCH_THREADS, "embed-passages")
        self._routes: dict[tuple[str, str], Callable[[Exchange], Awaitable[None]]] = {
            ("GET", "/healthz"): self._health,
            ("GET", "/readyz"): self._ready,
            ("GET", "/metrics"): self._metrics,
            ("GET", "/live"): self._live,
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
                self._batches.shutdown(wait=False, cancel_futures=True)
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
            headers = {"retry-after": str(retry)} if error.status == 503 else None
            await exchange.answer(error.status, wire.error_to_json(error), headers)

    def _authenticate(self, exchange: Exchange) -> None:
        scheme, _, key = exchange.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(key.strip().encode(), self._key):
            error = InvalidRequest("The key is missing or wrong.", hint="Send it as a bearer token.")
            raise Refused(401, wire.error_to_json(error), {"www-authenticate": "Bearer"})

    # -- state

    async def _health(self, exchange: Exchange) -> None:
        if self.runtime.health == "failed":
            await exchange.answer(503, {"status": "failed", "detail": self.runtime.detail})
        else:
            await exchange.answer(200, {"status": "ok"})

    async def _ready(self, exchange: Exchange) -> None:
        runtime = self.runtime
        status = 200 if runtime.state == "ready" else 503
        await exchange.answer(status, {"status": runtime.state, "detail": runtime.detail})

    async def _metrics(self, exchange: Exchange) -> None:
        text = ""
        with contextlib.suppress(NotReady):
            values = await asyncio.to_thread(self.runtime.metrics)
            text = exposition(values, self.runtime.generator.model_name)
        await exchange.start(200, "text/plain; version=0.0.4; charset=utf-8")
        await exchange.write(text.encode(), more=False)

    async def _live(self, exchange: Exchange) -> None:
        """The samples and the requests at hand, for the operator's page of the web processes."""
        rows = await asyncio.to_thread(self.runtime.generator.live)
        values = await asyncio.to_thread(self.runtime.metrics)
        await exchange.answer(200, {"requests": [asdict(row) for row in rows], "metrics": values})

    async def _models(self, exchange: Exchange) -> None:
        runtime = self.runtime
        entries: list[wire.Json] = []
        with contextlib.suppress(NotReady):
            embedder = runtime.embedder
            sizes = {"dimension": embedder.dimension, "max_tokens": embedder.max_tokens}
            entries.append(_entry(embedder.name, "embed", sizes))
        with contextlib.suppress(NotReady):
            for generator in runtime.generators:
                sizes = {"max_model_len": generator.max_model_len}
                entries.append(_entry(generator.model_name, "generate", sizes))
        if runtime.state == "failed":
            raise LoadingFailed(runtime.detail)
        if runtime.state != "ready" and len(entries) < 2:
            raise NotReady(runtime.detail)
        await exchange.answer(200, {"object": "list", "data": entries})

    # -- tokens and vectors

    async def _tokenize(self, exchange: Exchange) -> None:
        body = await exchange.json()
        generator = self._asked(body)
        if "messages" in body:
            messages = wire.messages_from_json(body)
            prompt = await asyncio.to_thread(generator.render_chat, messages)
        else:
            text = wire.text_from_json(body, "prompt")
            prompt = PromptTokens(tuple(await asyncio.to_thread(generator.encode, text)))
        answer = {"count": len(prompt.token_ids), "tokens": list(prompt.token_ids)}
        sizes = {"max_model_len": generator.max_model_len, "public_prefix": prompt.public_prefix}
        await exchange.answer(200, answer | sizes)

    def _asked(self, body: wire.Json) -> TextGenerator:
        """The generator that the request names. Raises ``NotReady``, and ``InvalidRequest`` where there is no such
        model."""
        model = body.get("model")
        return self.runtime.generator_of(model if isinstance(model, str) else "")

    async def _embeddings(self, exchange: Exchange) -> None:
        body = await exchange.json()
        texts = body.get("input")
        texts = [texts] if isinstance(texts, str) else texts
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise InvalidRequest("input must be a string or a list of strings.")
        if not 0 < len(texts) <= MAX_TEXTS:
            raise InvalidRequest(f"input must hold 1 to {MAX_TEXTS} texts.")
        texts = [wire.whole_text(text, "input") for text in texts]
        embedder = self.runtime.embedder
        if body.get("input_type") == "query":
            vectors = [await asyncio.to_thread(embedder.embed_query, text) for text in texts]
        else:
            computed = await _unless_gone(exchange, self._batches, embedder.embed_passages, texts)
            if computed is None:
                return
            vectors = list(computed)
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
        count = await asyncio.to_thread(lambda: sum(map(embedder.count_tokens, texts)))
        usage = {"prompt_tokens": count, "total_tokens": count}
        await exchange.answer(200, {"object": "list", "model": embedder.name, "data": rows, "usage": usage})

    async def _embedding_tokenizer(self, exchange: Exchange) -> None:
        await exchange.answer(200, json.loads(self.runtime.embedder.tokenizer.to_str()))

    # -- generation

    async def _completions(self, exchange: Exchange) -> None:
        body = await exchange.json()
        given = body.get("prompt")
        if isinstance(given, str):
            prompt = PromptTokens(tuple(await asyncio.to_thread(self._asked(body).encode, given)))
        else:
            token_ids = wire.token_ids_from_json(given)
            messages = tuple(wire.messages_from_json(body)) if body.get("messages") else ()
            prompt = PromptTokens(token_ids, wire.public_prefix_from_json(body, len(token_ids)), messages)
        await self._generate(exchange, body, prompt, "text_completion", "text")

    async def _chat(self, exchange: Exchange) -> None:
        body = await exchange.json()
        messages = wire.messages_from_json(body)
        prompt = await asyncio.to_thread(self._asked(body).render_chat, messages)
        shape = "chat.completion.chunk" if body.get("stream") is True else "chat.completion"
        kind: Kind = "delta" if body.get("stream") is True else "message"
        await self._generate(exchange, body, prompt, shape, kind)

    async def _generate(
        self, exchange: Exchange, body: wire.Json, prompt: PromptTokens, shape: str, kind: Kind
    ) -> None:
        generator = self._asked(body)
        choices = Choices(kind, generator.token_bytes, as_ids=body.get("return_tokens_as_token_ids") is True)
        submit = partial(
            generator.submit,
            prompt,
            wire.sampling_from_json(body),
            share=wire.share_from_json(body),
            priority=wire.priority_from_json(body),
            deadline_s=wire.deadline_from_json(body),
        )
        # A route renders anew and may ask far away; the engine only queues.
        handle = await asyncio.to_thread(submit) if self.runtime.routed else submit()
        frame = {
            "id": f"cmpl-{uuid.uuid4().hex}",
            "object": shape,
            "created": int(time.time()),
            "model": generator.model_name,
        }
        if body.get("stream") is True:
            await self._stream(exchange, handle, frame, choices)
        else:
            await self._collect(exchange, handle, frame, choices)

    async def _stream(self, exchange: Exchange, handle: Handle, frame: wire.Json, choices: Choices) -> None:
        try:
            await exchange.start(200, EVENT_STREAM)
            await exchange.write(b": admitted\n\n", more=True)
            async for event in _until_gone(exchange, handle):
                if event is None:
                    await exchange.write(b": ping\n\n", more=True)
                elif isinstance(event, Delta):
                    await exchange.event(frame | {"choices": [choices.show(event)]})
                else:
                    await self._end_stream(exchange, event, frame, choices)
        finally:
            handle.abort()

    async def _end_stream(
        self, exchange: Exchange, last: Finished, frame: wire.Json, choices: Choices
    ) -> None:
        usage = {"usage": wire.usage_to_json(last.usage)}
        if last.error is not None:
            await exchange.event(wire.error_to_json(last.error) | usage)
        else:
            await exchange.event(frame | {"choices": [choices.show(Delta(""), last.reason)]})
            await exchange.event(frame | {"choices": []} | usage)
        await exchange.event("[DONE]")
        await exchange.write(b"", more=False)

    async def _collect(self, exchange: Exchange, handle: Handle, frame: wire.Json, choices: Choices) -> None:
        pieces: list[Delta] = []
        try:
            async for event in _until_gone(exchange, handle):
                if isinstance(event, Delta):
                    pieces.append(event)
                elif isinstance(event, Finished):
                    if event.error is not None:
                        raise event.error
                    whole = Delta(
                        "".join(piece.text for piece in pieces),
                        tuple(token for piece in pieces for token in piece.token_ids),
                        tuple(logprob for piece in pieces for logprob in piece.logprobs),
                    )
                    body = frame | {"choices": [choices.show(whole, event.reason)]}
                    await exchange.answer(200, body | {"usage": wire.usage_to_json(event.usage)})
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


async def _unless_gone(
    exchange: Exchange,
    threads: ThreadPoolExecutor,
    embed: Callable[..., Vectors],
    texts: list[str],
) -> Vectors | None:
    """The vectors of the texts; None when the client went away, for whom nothing more is computed then."""
    left = threading.Event()

    def on_batch(done: int) -> None:
        if left.is_set():
            raise CancelledError

    gone: asyncio.Future[Any] = asyncio.ensure_future(exchange.gone())
    coming = asyncio.wrap_future(threads.submit(embed, texts, on_batch=on_batch))
    try:
        await asyncio.wait([gone, coming], return_when=asyncio.FIRST_COMPLETED)
        return coming.result() if coming.done() else None
    finally:
        left.set()
        gone.cancel()
        coming.cancel()


def _entry(name: str, task: str, sizes: wire.Json) -> wire.Json:
    return {"id": name, "object": "model", "created": 0, "owned_by": "tessera", "task": task, **sizes}


def create_app(runtime: Runtime | None = None, api_key: str | None = None) -> InferenceApp:
    """The application; without arguments it reads the environment and loads the models once it is
    started."""
    key = secret("TESSERA_INFERENCE_API_KEY") if api_key is None else api_key
    if runtime is not None:
        return InferenceApp(lambda: runtime, key)
    config = config_from_environment()
    return InferenceApp(lambda: load_in_background(config), key)
