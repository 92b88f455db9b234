"""The engine of another process, behind the interface of the one in this process.

A :class:`RemoteGenerator` speaks OpenAI's completions with prompts as token ids, so that nobody but us
decides what is a control token. What always holds: every request carries its share's cache salt; a
server that is not known to keep salted prompts apart is refused when it is connected, not when it has
leaked; an abort closes the connection, on which the server frees what the request held; what fails is
tried again only while no token was delivered. Servers that know no shares are asked by a few requests at
a time, chosen by the engine's own fair queue."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import itertools
import json
import logging
import random
import threading
import time
import uuid
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Self, TypeVar

import httpx

from inference import wire
from inference.engine.breaker import CircuitBreaker
from inference.engine.handle import RequestHandle
from inference.engine.metrics import LiveRequest, live, parse_exposition
from inference.engine.remote_client import (
    DIALECTS,
    OURS,
    READ_TIMEOUT_S,
    STREAM_TIMEOUT_S,
    Dialect,
    Passing,
    checked,
    counted,
    events,
    find_model,
    headers,
    refusal,
    time_limits,
    unreachable,
)
from inference.engine.remote_embedder import RemoteEmbedder
from inference.engine.router import EventRouter
from inference.errors import DeadlineExceeded, EngineStopped, InferenceError, InvalidRequest
from inference.loading.tokenizer import Tokenizer
from inference.request import (
    ChatMessage,
    Finished,
    GenerationEvent,
    Priority,
    PromptTokens,
    SamplingParams,
    Share,
    Usage,
)
from inference.scheduling.admission import QueueGate, validate
from inference.scheduling.fair_queue import FairQueue
from inference.scheduling.sequence import Sequence as TokenSequence

__all__ = ["RemoteEmbedder", "RemoteGenerator"]

logger = logging.getLogger(__name__)

T = TypeVar("T")

CLOSED = "The connection to the inference service was closed."
TRIES = 3
PAUSE_S = 0.25
"""Before the second try; twice as long before each one after it, and up to half as much more or less."""
MAX_PAUSE_S = 5.0
"""A server that asks for more patience than that is not asked again: the caller is told how long it wants."""
SPARE_DELTAS = 16
"""So many pieces of output beyond ``max_tokens``, and a server is taken for one that never ends."""


@dataclass(slots=True, eq=False)
class _Request:
    """A request under way. ``admitted`` is set once the server, or our queue in front of it, took it in; ``turn`` when
    it may be sent."""

    sequence: TokenSequence
    handle: RequestHandle
    body: wire.Json
    usage: Usage
    started: float
    sent: float = 0.0
    deadline_s: float | None = None
    admitted: asyncio.Future[None] = field(default_factory=asyncio.Future)
    turn: asyncio.Future[None] = field(default_factory=asyncio.Future)

    @property
    def phase(self) -> Literal["waiting", "prefill", "decode"]:
        return "waiting" if not self.sent else "decode" if self.usage.completion_tokens else "prefill"


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
                hint="Switch its prefix cache off and confirm that with TESSERA_REMOTE_CACHE_OFF=true.",
            )
        self.model_name = model
        self.max_model_len = max_model_len
        self.url = base_url
        self.breaker = CircuitBreaker() if breaker is None else breaker
        self._ours = owned_by == OURS
        self._token_timeout_s = token_timeout_s or (STREAM_TIMEOUT_S if self._ours else READ_TIMEOUT_S)
        self._tokenizer = tokenizer
        self._max_running = max_running
        self._gate = QueueGate(max_queued_requests, max_queued_tokens)
        self._queue = FairQueue()
        self._running = 0
        self._order = itertools.count()
        self._retries = 0
        self._router = EventRouter()
        self._requests: dict[str, _Request] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._calls: set[asyncio.Task[Any]] = set()
        self._stopped = False
        self._lifecycle = threading.Lock()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="remote-engine", daemon=True)
        self._thread.start()
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=16)
        self._client = httpx.AsyncClient(
            base_url=base_url, headers=headers(api_key), timeout=time_limits(), limits=limits
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
        wait_s: float = 0.0,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> Self:
        """Asks the server what it runs and returns a generator for it; see :func:`find_model` for the
        errors. ``max_model_len``: for servers that do not tell theirs."""
        entry = find_model(
            base_url, api_key=api_key, model=model, task="generate", wait_s=wait_s, cancelled=cancelled
        )
        told = entry.get("max_model_len") or (entry.get("meta") or {}).get("n_ctx")
        return cls(
            base_url,
            model=entry["id"],
            max_model_len=int(told or max_model_len),
            api_key=api_key,
            owned_by=str(entry.get("owned_by", "")),
            tokenizer=tokenizer,
            salted_cache=salted_cache,
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
        body: wire.Json = {
            "model": self.model_name,
            "prompt": tokens,
            "stream": True,
            "stream_options": {"include_usage": True},
            **wire.sampling_to_json(params),
            **self._dialect.extra,
        }
        if self._ours:
            body |= {"share": wire.share_to_json(share), "public_prefix": prompt.public_prefix}
            body["priority"] = int(priority)
            body |= {"deadline_s": deadline_s} if deadline_s is not None else {}
        elif self._tokenizer is not None:
            vocabulary = self._tokenizer.vocab_size
            validate(prompt, params, share, max_total=self.max_model_len, vocab_size=vocabulary)
            if not self._dialect.takes_tokens:
                body["prompt"] = self._tokenizer.as_text(tokens)
            body |= {"cache_salt": share.cache_salt.hex()} if self._dialect.salt and share.cache_salt else {}
        now, name = time.monotonic(), uuid.uuid4().hex
        sequence = TokenSequence(
            name, tokens, len(tokens), params, share, priority, now, next(self._order), in_gate=not self._ours
        )
        self.breaker.check()
        if not self._ours:
            self._gate.enter(share.key, sequence.queue_tokens, deadline_s=deadline_s)
        try:
            return self._call(self._admit(sequence, body, None if self._ours else deadline_s))
        except EngineStopped:
            self._leave_gate(sequence)
            raise

    def render_chat(self, messages: Sequence[ChatMessage]) -> PromptTokens:
        """See ``TextGenerator.render_chat``; our service renders with the template of its own
        checkpoint."""
        if self._tokenizer is not None:
            return self._tokenizer.render_chat(messages)
        body = self._call(self._post("/tokenize", {"messages": [wire.message_to_json(m) for m in messages]}))
        return PromptTokens(tuple(body["tokens"]), int(body["public_prefix"]))

    def count_tokens(self, text: str) -> int:
        """How many tokens ``text`` has as plain text."""
        if self._tokenizer is not None:
            return len(self._tokenizer.encode(text))
        return int(self._call(self._post("/tokenize", {"prompt": text}))["count"])

    def metrics(self) -> dict[str, float]:
        """Our service's counters and gauges, and always what is known here of the way to the server."""
        label = f'{{remote="{self.url}",state="{self.breaker.state}"}}'
        values: dict[str, float] = {
            f"remote_breaker{label}": 1.0,
            f'remote_retries_total{{remote="{self.url}"}}': float(self._retries),
            f'remote_requests_running{{remote="{self.url}"}}': float(self._running),
            f'remote_requests_waiting{{remote="{self.url}"}}': float(self._gate.num_requests),
        }
        if self._ours:
            values |= parse_exposition(self._call(self._get_text("/metrics")))
        return values

    def live(self) -> list[LiveRequest]:
        """The requests that our service has at hand, or those that wait or run here for another server."""
        if self._ours:
            return [LiveRequest(**row) for row in self._call(self._get_json("/live"))["requests"]]
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

    async def _get_text(self, path: str) -> str:
        try:
            response = await self._client.get(path)
        except httpx.TransportError as error:
            raise unreachable(error) from error
        if response.is_error:
            checked(response)
        return response.text

    async def _get_json(self, path: str) -> Any:
        return json.loads(await self._get_text(path))

    async def _admit(
        self, sequence: TokenSequence, body: wire.Json, deadline_s: float | None
    ) -> RequestHandle:
        """Starts the task that serves the request, and waits until it is taken in."""
        handle = RequestHandle(sequence.request_id, self._ask_abort)
        usage = Usage(sequence.num_prompt, 0)
        request = _Request(sequence, handle, body, usage, time.monotonic(), deadline_s=deadline_s)
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

    async def _serve(self, request: _Request) -> None:
        """The whole life of a request, which ends with its one terminal event, or, before the admission, with the
        error for whoever waits for that."""
        error: InferenceError | None = None
        last: Finished | None = None
        try:
            async with asyncio.timeout(request.deadline_s):
                if not self._ours:
                    await self._turn(request)
                last = await self._tries(request)
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

    async def _turn(self, request: _Request) -> None:
        """Waits in the fair queue until the request may be sent."""
        request.admitted.set_result(None)
        self._queue.activate(request.sequence.share)
        self._queue.push(request.sequence)
        self._send_next()
        await request.turn

    def _send_next(self) -> None:
        self._queue.age(time.monotonic())
        while self._running < self._max_running and (head := self._queue.head()) is not None:
            self._queue.remove(head)
            self._running += 1
            self._leave_gate(head)
            self._queue.charge(head, prompt_tokens=head.num_prompt)
            request = self._requests[head.request_id]
            request.sent = time.monotonic()
            if not request.turn.done():
                request.turn.set_result(None)

    def _leave(self, request: _Request) -> None:
        """Gives back what the request held, in the queue or in flight."""
        sequence, name = request.sequence, request.handle.request_id
        if not self._ours:
            if not self._queue.remove(sequence):
                self._running -= 1
                tokens, seconds = request.usage.completion_tokens, time.monotonic() - request.sent
                self._gate.observe(sequence.num_prompt + tokens, seconds / (self._running + 1))
            self._leave_gate(sequence)
            self._queue.deactivate(sequence.share)
            self._send_next()
        self._requests.pop(name, None)
        self._tasks.pop(name, None)

    def _leave_gate(self, sequence: TokenSequence) -> None:
        if sequence.in_gate:
            sequence.in_gate = False
            self._gate.leave(sequence.share.key, sequence.queue_tokens)

    async def _tries(self, request: _Request) -> Finished:
        """Asks again what failed in passing, a few times and never once a token was delivered."""
        for attempt in itertools.count(1):
            probe = self.breaker.enter()
            try:
                return await self._attempt(request)
            except Passing as failure:
                if failure.down:
                    self.breaker.failed()
                begun = request.usage.completion_tokens > 0
                if begun or attempt == TRIES or failure.after_s > MAX_PAUSE_S:
                    raise failure.error from failure
                pause = PAUSE_S * 2 ** (attempt - 1) * random.uniform(0.5, 1.5)  # noqa: S311 - no secret
                pause = max(pause, failure.after_s)
                self._retries += 1
            finally:
                self.breaker.left(probe)
            await asyncio.sleep(pause)
        raise AssertionError("unreachable")

    async def _attempt(self, request: _Request) -> Finished:
        """Sends the request and delivers what comes. Raises :class:`Passing`, or the server's refusal."""
        limits = time_limits(self._token_timeout_s)
        call = self._client.build_request("POST", "/v1/completions", json=request.body, timeout=limits)
        try:
            response = await self._client.send(call, stream=True)
            if response.is_error:
                await response.aread()
                failure = refusal(response, ours=self._ours)
                if not (isinstance(failure, Passing) and failure.down):
                    self.breaker.succeeded()
                raise failure
        except httpx.TransportError as error:
            raise Passing(unreachable(error)) from error
        try:
            return await self._read(request, response)
        finally:
            with contextlib.suppress(httpx.HTTPError):
                await response.aclose()

    async def _read(self, request: _Request, response: httpx.Response) -> Finished:
        if self._ours:
            self.breaker.succeeded()
            if not request.admitted.done():
                request.admitted.set_result(None)
        coming = events(response, request.usage, request.started)
        most = request.sequence.params.max_tokens
        for number in itertools.count():
            try:
                async with asyncio.timeout(None if self._ours else self._token_timeout_s):
                    event = await anext(coming)
            except TimeoutError as error:
                raise Passing(EngineStopped("The model's server sent nothing for too long.")) from error
            self.breaker.succeeded()
            if isinstance(event, Finished):
                first = event.usage.time_to_first_token_s or request.usage.time_to_first_token_s
                return replace(event, usage=replace(event.usage, time_to_first_token_s=first))
            if number >= most + SPARE_DELTAS:
                logger.warning("%s went on after max_tokens; its output was cut off", self.url)
                return Finished("length", request.usage)
            before = request.usage.completion_tokens
            request.usage = counted(request.usage, event, request.started)
            if not self._ours:
                new = request.usage.completion_tokens - before
                self._queue.charge(request.sequence, output_tokens=new)
            self._deliver(request.handle, event)
        raise AssertionError("unreachable")

    def _deliver(self, handle: RequestHandle, event: GenerationEvent) -> None:
        self._router.post(handle, event)
        self._router.flush()
