"""One completion asked of a server: again while that may help and nothing was delivered, never after.

What always holds: a server that fails alone is left alone by the circuit breaker; every wait for it has an end; an
attempt that is cancelled closes its connection, on which the server frees what the request held."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Literal

import httpx

from inference import wire
from inference.engine.handle import RequestHandle
from inference.engine.remote.breaker import CircuitBreaker
from inference.engine.remote.client import (
    Passing,
    counted,
    events,
    refusal,
    time_limits,
    unreachable,
)
from inference.engine.remote.dialects import DIALECTS, OURS, Dialect
from inference.errors import EngineStopped
from inference.request import Delta, Finished, Usage
from inference.routes import Remote
from inference.scheduling.sequence import Sequence

logger = logging.getLogger(__name__)

TRIES = 3
PAUSE_S = 0.25
"""Before the second try; twice as long before each one after it, and up to half as much more or less."""
MAX_PAUSE_S = 5.0
"""A server that asks for more patience than that is not asked again: the caller is told how long it wants."""
SPARE_DELTAS = 16
"""So many pieces of output beyond ``max_tokens``, and a server is taken for one that never ends."""


@dataclass(slots=True, eq=False)
class RemoteRequest:
    """A request under way. ``admitted`` is set once the server, or our queue in front of it, took it in. Times are
    of the monotonic clock, s; ``sent`` is 0 before its first attempt."""

    sequence: Sequence
    handle: RequestHandle
    body: wire.Json
    usage: Usage
    sent: float = 0.0
    deadline_s: float | None = None
    task: asyncio.Task[None] | None = None
    admitted: asyncio.Future[None] = field(default_factory=asyncio.Future)

    @property
    def phase(self) -> Literal["waiting", "prefill", "decode"]:
        return "waiting" if not self.sent else "decode" if self.usage.completion_tokens else "prefill"


class Attempts:
    """Sends requests to one server; our own service says that it took a request in and sends signs of life.
    ``deliver`` takes each piece and how many tokens it counts for."""

    def __init__(
        self,
        remote: Remote,
        client: httpx.AsyncClient,
        breaker: CircuitBreaker,
        deliver: Callable[[RemoteRequest, Delta, int], None],
    ) -> None:
        self._client, self._breaker, self._deliver = client, breaker, deliver
        self._read_choice = DIALECTS.get(remote.server, Dialect()).delta
        self._ours = remote.server == OURS
        self._silence_s = remote.token_timeout_s
        self.retries = 0

    async def complete(self, request: RemoteRequest) -> Finished:
        """Delivers the output and returns its end. Raises ``InferenceError``."""
        request.sent = time.monotonic()
        for attempt in itertools.count(1):
            probe = self._breaker.enter()
            try:
                return await self._attempt(request)
            except Passing as failure:
                if failure.down:
                    self._breaker.failed()
                begun = request.usage.completion_tokens > 0
                if begun or attempt == TRIES or failure.after_s > MAX_PAUSE_S:
                    raise failure.error from failure
                pause = PAUSE_S * 2 ** (attempt - 1) * random.uniform(0.5, 1.5)  # noqa: S311 - no secret
                pause = max(pause, failure.after_s)
                self.retries += 1
            finally:
                self._breaker.left(probe)
            await asyncio.sleep(pause)
        raise AssertionError("unreachable")

    async def _attempt(self, request: RemoteRequest) -> Finished:
        """Sends the request and delivers what comes. Raises :class:`Passing`, or the server's refusal."""
        limits = time_limits(self._silence_s)
        call = self._client.build_request("POST", "/v1/completions", json=request.body, timeout=limits)
        try:
            response = await self._client.send(call, stream=True)
        except httpx.TransportError as error:
            raise Passing(unreachable(error)) from error
        try:
            if not response.is_error:
                return await self._read(request, response)
            failure = await refusal(response, ours=self._ours)
            if not (isinstance(failure, Passing) and failure.down):
                self._breaker.succeeded()
            raise failure
        finally:
            with contextlib.suppress(httpx.HTTPError):
                await response.aclose()

    async def _read(self, request: RemoteRequest, response: httpx.Response) -> Finished:
        if self._ours:
            self._breaker.succeeded()
            if not request.admitted.done():
                request.admitted.set_result(None)
        params = request.sequence.params
        read = partial(self._read_choice, logprobs=params.logprobs)
        coming = events(response, read, request.usage, request.sequence.arrival)
        for number in itertools.count():
            try:
                async with asyncio.timeout(None if self._ours else self._silence_s):
                    event = await anext(coming)
            except TimeoutError as error:
                raise Passing(EngineStopped("The model's server sent nothing for too long.")) from error
            self._breaker.succeeded()
            if isinstance(event, Finished):
                first = event.usage.time_to_first_token_s or request.usage.time_to_first_token_s
                return replace(event, usage=replace(event.usage, time_to_first_token_s=first))
            if number >= params.max_tokens + SPARE_DELTAS:
                logger.warning("%s went on after max_tokens; its output was cut off", self._client.base_url)
                return Finished("length", request.usage)
            before = request.usage.completion_tokens
            request.usage = counted(request.usage, event, request.sequence.arrival)
            self._deliver(request, event, request.usage.completion_tokens - before)
        raise AssertionError("unreachable")
