"""The engine of another process, behind the interface of the one in this process.

A :class:`RemoteGenerator` speaks OpenAI's completions with prompts as token ids, so that nobody but us
decides what is a control token. What always holds: every request carries its share's cache salt; a
server that is not known to keep salted prompts apart is refused when it is connected, not when it has
leaked; an abort closes the connection. Servers that know no shares are asked by a few requests at
a time, chosen by the engine's own fair queue (:mod:`inference.engine.remote.turns`)."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import itertools
import logging
import threading
import time
import uuid
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any, Self, TypeVar

import httpx

from inference import wire
from inference.engine.handle import RequestHandle
from inference.engine.metrics import LiveRequest, live, parse_exposition, sample, shares
from inference.engine.remote.attempts import Attempts, RemoteRequest
from inference.engine.remote.breaker import CircuitBreaker
from inference.engine.remote.client import (
    MODELS_TIMEOUT_S,
    checked,
    find_model,
    headers,
    time_limits,
    unreachable,
)
from inference.engine.remote.dialects import DIALECTS, OURS, Dialect
from inference.engine.remote.turns import Turns
from inference.engine.router import EventRouter
from inference.errors import DeadlineExceeded, EngineStopped, InferenceError, InvalidRequest
from inference.loading.tokenizer import Tokenizer
from inference.request import (
    ChatMessage,
    Delta,
    Finished,
    GenerationEvent,
    Priority,
    PromptTokens,
    SamplingParams,
    Share,
    Usage,
)
from inference.scheduling.admission import validate
from inference.scheduling.sequence import Sequence as TokenSequence

logger = logging.getLogger(__name__)

T = TypeVar("T")

CLOSED = "The connection to the inference service was closed."


class RemoteGenerator:
    """A :class:`inference.request.TextGenerator` over our service or an OpenAI-compatible server.
    Thread-safe.

    ``tokenizer`` is needed for servers that are not ours: they would read control tokens inside a
    person's text. ``submit`` waits for the admission of our service (one round trip), so that refusals are
    raised as those of a local engine are; call it from a thread, not from an event loop. Requests to other servers
    are admitted by a queue here, of which ``max_running`` are sent at a time."""

    def __init__(
        self,
        base_url: str,
        *,
        model: str,
        max_model_len: int,
        api_key: str = "",
        owned_by: str = OURS,
        tokenizer: Tokenizer | None = None,
        salted_cache: bool = False,
        max_running: int = 32,
        max_queued_requests: int = 256,
        max_queued_tokens: int = 1_000_000,
        token_timeout_s: float | None = None,
        breaker: CircuitBreaker | None = None,
    ) -> None:
        """``salted_cache`` is the operator's word that another maker's server shares no cache between shares.
        ``token_timeout_s``: how long a server may be silent.

        Raises ``InvalidRequest`` for a server that could mix organisations or read control tokens in text.
        """
        self._dialect = DIALECTS.get(owned_by, Dialect())
        if owned_by != OURS and tokenizer is None:
            raise InvalidRequest(
                "This server would read control tokens inside people's text.",
                hint="Name the model's tokenizer (a GGUF file or a folder) to tokenize here.",
            )
        if not (self._dialect.separate or salted_cache):
            raise InvalidRequest(
                f"The server at {base_url} is not known to keep the prefix caches of organisations apart.",
                hint='Switch its prefix cache off and state "prefix_cache_off": true in TESSERA_REMOTES.',
            )
        self.model_name = model
        self.max_model_len = max_model_len
        self.url = base_url
        self.breaker = CircuitBreaker() if breaker is None else breaker
        self._tokenizer = tokenizer
        limits = {"max_requests": max_queued_requests, "max_tokens": max_queued_tokens}
        self._turns = None if owned_by == OURS else Turns(max_running=max_running, **limits)
        self._order = itertools.count()
        self._router = EventRouter()
        self._requests: dict[str, RemoteRequest] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._calls: set[asyncio.Task[Any]] = set()
        self._stopped = False
        self._lifecycle = threading.Lock()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="remote-engine", daemon=True)
        self._thread.start()
        self._client = httpx.AsyncClient(
            base_url=base_url,
            headers=headers(api_key),
            timeout=time_limits(),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=16),
        )
        self._attempts = Attempts(
            self._client,
            self._dialect,
            self.breaker,
            self._deliver_piece,
            ours=self._turns is None,
            token_timeout_s=token_timeout_s,
        )

    @classmethod
    def connect(
        cls,
        base_url: str,
        *,
        api_key: str = "",
        model: str | None = None,
        tokenizer: Tokenizer | None = None,
        salted_cache: bool = False,
        max_model_len: int = 4096,
        owned_by: str = "",
        max_running: int = 32,
        token_timeout_s: float | None = None,
        wait_s: float = 0.0,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> Self:
        """Asks the server what it runs and returns a generator for it; see :func:`find_model` for the
        errors. ``max_model_len``: for servers that do not tell theirs; ``owned_by``: for those that do not say
        whose they are."""
        entry = find_model(
            base_url, api_key=api_key, model=model, task="generate", wait_s=wait_s, cancelled=cancelled
        )
        told = entry.get("max_model_len") or (entry.get("meta") or {}).get("n_ctx")
        return cls(
            base_url,
            model=entry["id"],
            max_model_len=int(told or max_model_len),
            api_key=api_key,
            owned_by=owned_by or str(entry.get("owned_by", "")),
            tokenizer=tokenizer,
            salted_cache=salted_cache,
            max_running=max_running,
            token_timeout_s=token_timeout_s,
        )

    def submit(
        self,
        prompt: PromptTokens,
        params: SamplingParams,
        *,
        share: Share,
        priority: Priority = Priority.INTERACTIVE,
        deadline_s: float | None = None,
    ) -> RequestHandle:
        """See ``TextGenerator.submit``; raises ``NotReady`` too, when the server does not answer, and ``Overloaded``
        at once while the circuit is open."""
        tokens = list(prompt.token_ids)
        if self._tokenizer is not None:
            vocabulary = self._tokenizer.vocab_size
            validate(prompt, params, share, max_total=self.max_model_len, vocab_size=vocabulary)
        body = self._dialect.body(self.model_name, tokens, params, share, self._as_text)
        if self._turns is None:
            body |= {"share": wire.share_to_json(share), "public_prefix": prompt.public_prefix}
            body |= {"priority": int(priority), "deadline_s": deadline_s}
            body |= _messages(prompt.messages) if prompt.messages else {}
        now, name = time.monotonic(), uuid.uuid4().hex
        sequence = TokenSequence(name, tokens, len(tokens), params, share, priority, now, next(self._order))
        self.breaker.check()
        if self._turns is not None:
            self._turns.enter(sequence, deadline_s=deadline_s)
        try:
            return self._call(self._admit(sequence, body, deadline_s if self._turns else None))
        except EngineStopped:
            if self._turns is not None:
                self._turns.give_up(sequence)
            raise

    def render_chat(self, messages: Sequence[ChatMessage]) -> PromptTokens:
        """See ``TextGenerator.render_chat``; our service renders with the template of its own
        checkpoint."""
        if self._tokenizer is not None:
            return self._tokenizer.render_chat(messages)
        body = self._call(self._post("/tokenize", {"model": self.model_name, **_messages(messages)}))
        return PromptTokens(tuple(body["tokens"]), int(body["public_prefix"]), tuple(messages))

    def count_tokens(self, text: str) -> int:
        """How many tokens ``text`` has as plain text."""
        return len(self.encode(text))

    def encode(self, text: str) -> list[int]:
        """Tokens of plain text; the strings of control tokens in it are text."""
        if self._tokenizer is not None:
            return self._tokenizer.encode(text)
        body = self._call(self._post("/tokenize", {"model": self.model_name, "prompt": text}))
        return [int(token) for token in body["tokens"]]

    def token_bytes(self, token_id: int) -> bytes:
        """A token's text in UTF-8; none where the tokenizer is far away."""
        return self._tokenizer.token_bytes(token_id) if self._tokenizer is not None else b""

    def metrics(self) -> dict[str, float]:
        """Our service's counters and gauges, and always what is known here of the way to the server."""

        def here(name: str, **labels: str) -> str:
            return sample(f"remote_{name}", remote=self.url, **labels)

        values = {
            here("breaker", state=self.breaker.state): 1.0,
            here("retries_total"): float(self._attempts.retries),
        }
        if self._turns is None:
            return values | parse_exposition(self._call(self._get("/metrics")).text)
        values |= {
            here("requests_running"): float(self._turns.running),
            here("requests_waiting"): float(self._turns.waiting),
            here("queued_tokens"): float(self._turns.waiting_tokens),
        }
        return values | shares(self._turns.served, self._turns.gap, remote=self.url)

    def live(self) -> list[LiveRequest]:
        """The requests that our service has at hand, or those that wait or run here for another server."""
        if self._turns is None:
            return [LiveRequest(**row) for row in checked(self._call(self._get("/live")))["requests"]]
        now = time.monotonic()
        return [
            replace(
                live(request.sequence, now),
                phase=request.phase,
                output_tokens=request.usage.completion_tokens,
            )
            for request in list(self._requests.values())
        ]

    def stop(self) -> None:
        """Ends all requests with ``EngineStopped``; the server goes on. A second call does nothing."""
        with self._lifecycle:
            if self._stopped:
                return
            self._stopped = True
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def _as_text(self, tokens: Sequence[int]) -> str:
        assert self._tokenizer is not None  # such servers are not ours
        return self._tokenizer.as_text(tokens)

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        with self._lifecycle:
            if self._stopped:
                work.close()
                raise EngineStopped(CLOSED)
            future = asyncio.run_coroutine_threadsafe(self._counted_call(work), self._loop)
        try:
            return future.result()
        except concurrent.futures.CancelledError:
            raise EngineStopped(CLOSED) from None

    def _ask_abort(self, request_id: str) -> None:
        """Takes no lock: it also runs in destructors."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._cancel, request_id)

    # -- the thread of the event loop

    def _cancel(self, request_id: str) -> None:
        """Once only: a second cancellation would break off the closing of the connection, and the server
        would compute on for nobody."""
        task = self._tasks.get(request_id)
        if task is not None and not task.cancelling():
            task.cancel()

    async def _counted_call(self, work: Coroutine[Any, Any, T]) -> T:
        """``work``, which :meth:`_close` ends, so that no caller waits for a loop that is gone."""
        task = asyncio.ensure_future(work)
        self._calls.add(task)
        try:
            return await task
        finally:
            self._calls.discard(task)

    async def _close(self) -> None:
        await asyncio.sleep(0)  # Calls that were handed over before are under way now.
        tasks = [*self._calls, *self._tasks.values()]
        for task in tasks:
            if not task.cancelling():
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._client.aclose()

    async def _post(self, path: str, body: dict[str, Any]) -> Any:
        try:
            return checked(await self._client.post(path, json=body))
        except httpx.TransportError as error:
            raise unreachable(error) from error

    async def _get(self, path: str) -> httpx.Response:
        try:
            response = await self._client.get(path, timeout=time_limits(MODELS_TIMEOUT_S))
        except httpx.TransportError as error:
            raise unreachable(error) from error
        if response.is_error:
            checked(response)
        return response

    async def _admit(
        self, sequence: TokenSequence, body: wire.Json, deadline_s: float | None
    ) -> RequestHandle:
        """Starts the task that serves the request, and waits until it is taken in."""
        handle = RequestHandle(sequence.request_id, self._ask_abort)
        usage = Usage(sequence.num_prompt, 0)
        request = RemoteRequest(sequence, handle, body, usage, time.monotonic(), deadline_s=deadline_s)
        task = self._loop.create_task(self._serve(request))
        self._requests[handle.request_id], self._tasks[handle.request_id] = request, task
        # A task that is cancelled before its first step would never run its own clean-up.
        await asyncio.sleep(0)
        try:
            await request.admitted
        except asyncio.CancelledError:
            self._cancel(handle.request_id)
            raise
        return handle

    async def _serve(self, request: RemoteRequest) -> None:
        """The whole life of a request, which ends with its one terminal event, or, before the admission, with the
        error for whoever waits for that."""
        error: InferenceError | None = None
        last: Finished | None = None
        try:
            async with asyncio.timeout(request.deadline_s):
                if self._turns is not None:
                    request.admitted.set_result(None)
                    await self._turns.wait(request.sequence)
                last = await self._attempts.complete(request)
        except asyncio.CancelledError:
            if self._stopped:
                error = EngineStopped(CLOSED)
            else:
                last = Finished("aborted", request.usage)
        except TimeoutError:
            error = DeadlineExceeded("The deadline passed before the end of the output.")
        except InferenceError as failure:
            error = failure
        except Exception as failure:
            logger.exception("a request to %s failed", self.url)
            error = InferenceError(f"The request failed ({type(failure).__name__}).")
        finally:
            self._leave(request)
            if error is not None and not request.admitted.done():
                request.admitted.set_exception(error)
            elif not request.admitted.done():
                request.admitted.set_result(None)
            self._deliver(request.handle, last or Finished("error", request.usage, error))

    def _leave(self, request: RemoteRequest) -> None:
        """Gives back what the request held, in the queue or in flight."""
        if self._turns is not None:
            self._turns.leave(request.sequence, request.usage, time.monotonic() - request.sent)
        self._requests.pop(request.handle.request_id, None)
        self._tasks.pop(request.handle.request_id, None)

    def _deliver_piece(self, request: RemoteRequest, piece: Delta, tokens: int) -> None:
        if self._turns is not None:
            self._turns.charge(request.sequence, tokens)
        self._deliver(request.handle, piece)

    def _deliver(self, handle: RequestHandle, event: GenerationEvent) -> None:
        self._router.post(handle, event)
        self._router.flush()


def _messages(messages: Sequence[ChatMessage]) -> wire.Json:
    return {"messages": [wire.message_to_json(message) for message in messages]}
