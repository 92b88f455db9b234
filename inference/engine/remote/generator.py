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
from functools import partial
from typing import Any, Self, TypeVar

import httpx

from inference import wire
from inference.engine.handle import RequestHandle
from inference.engine.metrics import live, sample, shares
from inference.engine.remote.attempts import Attempts, RemoteRequest
from inference.engine.remote.breaker import CircuitBreaker
from inference.engine.remote.client import (
    MODELS_TIMEOUT_S,
    READ_TIMEOUT_S,
    checked,
    connection,
    find_model,
    time_limits,
    unreachable,
)
from inference.engine.remote.dialects import DIALECTS, OURS, Dialect
from inference.engine.remote.turns import Turns
from inference.engine.router import EventRouter
from inference.errors import DeadlineExceeded, EngineStopped, InferenceError
from inference.loading.tokenizer import Tokenizer
from inference.model.source import Tokenizing
from inference.request import (
    ChatMessage,
    Delta,
    Finished,
    FinishReason,
    GenerationEvent,
    Health,
    LiveRequest,
    Priority,
    PromptTokens,
    SamplingParams,
    Share,
    Usage,
)
from inference.routes import Remote, check_safe
from inference.scheduling.admission import validate
from inference.scheduling.sequence import Sequence as TokenSequence

logger = logging.getLogger(__name__)

T = TypeVar("T")

CLOSED = "The connection to the inference service was closed."


class FarTokenizer:
    """That of our service, which renders with the template of its own checkpoint. Raises as its requests do."""

    def __init__(self, model: str, ask: Callable[[str, wire.Json], wire.Json]) -> None:
        self._model, self._ask = model, ask

    def encode(self, text: str) -> list[int]:
        body = self._ask("/tokenize", {"model": self._model, "prompt": text})
        return [int(token) for token in body["tokens"]]

    def render_chat(self, messages: Sequence[ChatMessage]) -> PromptTokens:
        body = self._ask("/tokenize", {"model": self._model, **_messages(messages)})
        return PromptTokens(tuple(body["tokens"]), int(body["public_prefix"]), tuple(messages))

    def token_bytes(self, token_id: int) -> bytes:
        """None: it is far away."""
        return b""


class RemoteGenerator(Tokenizing):
    """A :class:`inference.request.TextGenerator` over our service or an OpenAI-compatible server.
    Thread-safe.

    ``tokenizer`` is needed for servers that are not ours: they would read control tokens inside a
    person's text. ``submit`` waits for the admission of our service (one round trip), so that refusals are
    raised as those of a local engine are; call it from a thread, not from an event loop. Requests to other servers
    are admitted by a queue here, of which ``remote.max_running`` are sent at a time."""

    health: Health = "ok"
    """A server that is away may come back."""

    def __init__(
        self,
        remote: Remote,
        *,
        tokenizer: Tokenizer | None = None,
        max_queued_requests: int = 256,
        max_queued_tokens: int = 1_000_000,
        breaker: CircuitBreaker | None = None,
    ) -> None:
        """Raises as :func:`check_safe` does."""
        check_safe(remote, tokenized=tokenizer is not None)
        super().__init__(tokenizer or FarTokenizer(remote.model, self._ask))
        self.model_name = remote.model
        self.max_model_len = remote.max_model_len
        self.url = remote.url
        self.breaker = CircuitBreaker() if breaker is None else breaker
        self._dialect = DIALECTS.get(remote.server, Dialect())
        self._local = tokenizer
        limits = {"max_requests": max_queued_requests, "max_tokens": max_queued_tokens}
        self._turns = None if remote.server == OURS else Turns(max_running=remote.max_running, **limits)
        self._order = itertools.count()
        self._router = EventRouter()
        self._requests: dict[str, RemoteRequest] = {}
        self._stopped = False
        self._lifecycle = threading.Lock()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="remote-engine", daemon=True)
        self._thread.start()
        limits_of_pool = httpx.Limits(max_connections=None, max_keepalive_connections=16)
        self._client = httpx.AsyncClient(**connection(remote), limits=limits_of_pool)
        self._attempts = Attempts(remote, self._client, self.breaker, self._deliver_piece)

    @classmethod
    def connect(
        cls,
        remote: Remote,
        *,
        tokenizer: Tokenizer | None = None,
        wait_s: float = 0.0,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> Self:
        """Asks the server what it runs and returns a generator for it; see :func:`find_model` for the
        errors. ``remote`` may leave out the model and whose the server is; its ``max_model_len`` counts where the
        server does not tell its own."""
        entry = find_model(remote, "generate", wait_s=wait_s, cancelled=cancelled)
        told = entry.get("max_model_len") or (entry.get("meta") or {}).get("n_ctx") or remote.max_model_len
        server = remote.server or str(entry.get("owned_by", ""))
        known = replace(remote, model=entry["id"], server=server, max_model_len=int(told))
        return cls(known, tokenizer=tokenizer)

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
        if self._local is not None:
            vocabulary = self._local.vocab_size
            validate(prompt, params, share, max_total=self.max_model_len, vocab_size=vocabulary)
        text = None if self._local is None or self._dialect.takes_tokens else self._local.as_text(tokens)
        body = self._dialect.body(self.model_name, tokens if text is None else text, params, share)
        if self._turns is None:
            body |= {"share": wire.share_to_json(share), "public_prefix": prompt.public_prefix}
            body |= {"priority": int(priority), "deadline_s": deadline_s}
            body |= _messages(prompt.messages) if prompt.messages else {}
        now, name = time.monotonic(), uuid.uuid4().hex
        sequence = TokenSequence(name, tokens, len(tokens), params, share, priority, now, next(self._order))
        self.breaker.check()
        if self._turns is None:
            return self._call(self._admit(sequence, body, None))
        self._turns.gate.enter(sequence, deadline_s=deadline_s)
        try:
            return self._call(self._admit(sequence, body, deadline_s))
        except EngineStopped:
            self._turns.gate.leave(sequence)
            raise

    def metrics(self) -> dict[str, float]:
        """Our service's counters and gauges, and always what is known here of the way to the server."""
        here = partial(sample, remote=self.url)
        values = {
            here("remote_breaker", state=self.breaker.state): 1.0,
            here("remote_retries_total"): float(self._attempts.retries),
        }
        if self._turns is None:
            values.update(self._ask("/live")["metrics"])
            return values
        values |= {
            here("remote_requests_running"): float(self._turns.running),
            here("remote_requests_waiting"): float(self._turns.gate.num_requests),
            here("remote_queued_tokens"): float(self._turns.gate.num_tokens),
        }
        return values | shares(self._turns.queue, remote=self.url)

    def live(self) -> list[LiveRequest]:
        """The requests that our service has at hand, or those that wait or run here for another server."""
        if self._turns is None:
            return [LiveRequest(**row) for row in self._ask("/live")["requests"]]
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

    def _ask(self, path: str, body: wire.Json | None = None) -> Any:
        """As :func:`ask`; ``EngineStopped`` ends it too."""

        async def answer() -> Any:
            limits = time_limits(MODELS_TIMEOUT_S if body is None else READ_TIMEOUT_S)
            method = "GET" if body is None else "POST"
            try:
                return checked(await self._client.request(method, path, json=body, timeout=limits))
            except httpx.TransportError as error:
                raise unreachable(error) from error

        return self._call(answer())

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        with self._lifecycle:
            if self._stopped:
                work.close()
                raise EngineStopped(CLOSED)
            future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except concurrent.futures.CancelledError:
            raise EngineStopped(CLOSED) from None

    def _ask_abort(self, request_id: str) -> None:
        """Takes no lock: it also runs in destructors."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._abort, request_id)

    # -- the thread of the event loop

    def _abort(self, request_id: str) -> None:
        request = self._requests.get(request_id)
        if request is not None and request.task is not None:
            _cancel(request.task)

    async def _close(self) -> None:
        """Ends everything, so that no caller waits for a loop that is gone."""
        await asyncio.sleep(0)  # Calls that were handed over before are under way now.
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            _cancel(task)
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._client.aclose()

    async def _admit(
        self, sequence: TokenSequence, body: wire.Json, deadline_s: float | None
    ) -> RequestHandle:
        """Starts the task that serves the request, and waits until it is taken in."""
        handle = RequestHandle(sequence.request_id, self._ask_abort)
        usage = Usage(sequence.num_prompt, 0)
        request = RemoteRequest(sequence, handle, body, usage, deadline_s=deadline_s)
        self._requests[handle.request_id] = request
        request.task = self._loop.create_task(self._serve(request))
        # A task that is cancelled before its first step would never run its own clean-up.
        await asyncio.sleep(0)
        try:
            await request.admitted
        except asyncio.CancelledError:
            _cancel(request.task)
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
            error = EngineStopped(CLOSED) if self._stopped else None
        except TimeoutError:
            error = DeadlineExceeded("The deadline passed before the end of the output.")
        except InferenceError as failure:
            error = failure
        except Exception as failure:
            logger.exception("a request to %s failed", self.url)
            error = InferenceError(f"The request failed ({type(failure).__name__}).")
        finally:
            self._requests.pop(request.handle.request_id, None)
            if self._turns is not None:
                self._turns.leave(request.sequence, request.usage, time.monotonic() - request.sent)
            if error is not None and not request.admitted.done():
                request.admitted.set_exception(error)
            elif not request.admitted.done():
                request.admitted.set_result(None)
            reason: FinishReason = "aborted" if error is None else "error"
            self._deliver(request.handle, last or Finished(reason, request.usage, error))

    def _deliver_piece(self, request: RemoteRequest, piece: Delta, tokens: int) -> None:
        if self._turns is not None:
            self._turns.queue.charge(request.sequence, output_tokens=tokens)
        self._deliver(request.handle, piece)

    def _deliver(self, handle: RequestHandle, event: GenerationEvent) -> None:
        self._router.post(handle, event)
        self._router.flush()


def _messages(messages: Sequence[ChatMessage]) -> wire.Json:
    return {"messages": [wire.message_to_json(message) for message in messages]}


def _cancel(task: asyncio.Task[Any]) -> None:
    """Once only: a second cancellation would break off the closing of the connection, and the server would compute on
    for nobody."""
    if not task.cancelling():
        task.cancel()
