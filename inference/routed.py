"""One model's name, several backends: the first that takes a request answers it.

What always holds: another backend is asked only while no piece of the answer was delivered, and never for what is wrong
with the request itself; a prompt is rendered anew for each backend, by its own tokenizer and template; what
cannot be rendered anew (token ids, logprobs, stop tokens: numbers of one vocabulary) has no fallback."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

from inference.engine.handle import Readable
from inference.engine.metrics import sample
from inference.errors import (
    DeadlineExceeded,
    InferenceError,
    InvalidRequest,
    NotReady,
    PromptTooLong,
)
from inference.request import (
    ChatMessage,
    Finished,
    GenerationEvent,
    Handle,
    Health,
    LiveRequest,
    Priority,
    PromptTokens,
    SamplingParams,
    Share,
    TextGenerator,
)

logger = logging.getLogger(__name__)

OF_THE_REQUEST = (InvalidRequest, PromptTooLong, DeadlineExceeded)
"""Errors that no other backend would mend."""


class Backend:
    """A generator under its name in the settings, which may come later or never."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.open: TextGenerator | None = None
        self.refusal: InferenceError = NotReady(f"The backend {name} is not connected.")

    def generator(self) -> TextGenerator:
        """Raises why there is none."""
        if self.open is None:
            raise self.refusal
        return self.open


class RoutedGenerator:
    """A :class:`inference.request.TextGenerator` of several, in the order in which they are asked. Thread-safe."""

    def __init__(self, model_name: str, backends: Sequence[Backend]) -> None:
        self.model_name = model_name
        self._backends = tuple(backends)
        self._answered: Counter[str] = Counter()
        self._passed_over: Counter[tuple[str, str]] = Counter()

    @property
    def max_model_len(self) -> int:
        """The least of those that are there, so that a prompt fits whichever answers."""
        lengths = [backend.open.max_model_len for backend in self._backends if backend.open is not None]
        return min(lengths, default=0)

    @property
    def ready(self) -> bool:
        """Whether any backend is there."""
        return self.max_model_len > 0

    @property
    def health(self) -> Health:
        """That of the engine where there is no other backend: a server that is away may come back."""
        known = {"ok" if backend.open is None else backend.open.health for backend in self._backends}
        return "ok" if "ok" in known else "restarting" if "restarting" in known else "failed"

    def submit(
        self,
        prompt: PromptTokens,
        params: SamplingParams,
        *,
        share: Share,
        priority: Priority = Priority.INTERACTIVE,
        deadline_s: float | None = None,
    ) -> RoutedHandle:
        """See ``TextGenerator.submit``. Raises the first backend's refusal when all refuse."""
        return RoutedHandle(self, self._offers(prompt, params, share, priority, deadline_s))

    def _offers(
        self,
        prompt: PromptTokens,
        params: SamplingParams,
        share: Share,
        priority: Priority,
        deadline_s: float | None,
    ) -> Iterator[tuple[str, Handle]]:
        """The request as each backend takes it in, one after the other."""
        started = time.monotonic()
        bound = params.logprobs is not None or params.stop_token_ids or not prompt.messages
        first: InferenceError | None = None
        for backend in self._backends[:1] if bound else self._backends:
            left = None if deadline_s is None else deadline_s - (time.monotonic() - started)
            try:
                generator = backend.generator()
                own = prompt if bound else generator.render_chat(prompt.messages)
                handle = generator.submit(own, params, share=share, priority=priority, deadline_s=left)
            except OF_THE_REQUEST:
                raise
            except InferenceError as error:
                self.pass_over(backend.name, error)
                first = first or error
            else:
                yield backend.name, handle
        if first is not None:
            raise first

    def pass_over(self, backend: str, error: InferenceError) -> None:
        logger.warning("%s: the backend %s did not answer: %s", self.model_name, backend, error.code)
        self._passed_over[backend, error.code] += 1

    def note_answer(self, backend: str) -> None:
        self._answered[backend] += 1

    def render_chat(self, messages: Sequence[ChatMessage]) -> PromptTokens:
        """The prompt of the first backend that is there. It keeps its messages, for the others."""
        return replace(self._first().render_chat(messages), messages=tuple(messages))

    def count_tokens(self, text: str) -> int:
        return self._first().count_tokens(text)

    def encode(self, text: str) -> list[int]:
        """Tokens of plain text in the vocabulary of the first backend."""
        return self._backends[0].generator().encode(text)

    def token_bytes(self, token_id: int) -> bytes:
        return self._backends[0].generator().token_bytes(token_id)

    def metrics(self) -> dict[str, float]:
        """Those of each backend, and how often each answered or was passed over, and why."""
        values: dict[str, float] = {}
        for backend in self._backends:
            name, up = {"route": self.model_name, "backend": backend.name}, 0.0
            with contextlib.suppress(InferenceError):
                values |= backend.generator().metrics()
                up = 1.0
            values[sample("backend_up", **name)] = up
            values[sample("backend_requests_total", **name)] = float(self._answered[backend.name])
        for (passed, code), count in list(self._passed_over.items()):
            name = {"route": self.model_name, "backend": passed, "reason": code}
            values[sample("backend_passed_over_total", **name)] = float(count)
        return values

    def live(self) -> list[LiveRequest]:
        rows: list[LiveRequest] = []
        for backend in self._backends:
            with contextlib.suppress(InferenceError):
                rows += backend.generator().live()
        return rows

    def stop(self) -> None:
        """Stops the backends, also where other routes lead to them."""
        for backend in self._backends:
            if backend.open is not None:
                backend.open.stop()

    def _first(self) -> TextGenerator:
        there = next((backend for backend in self._backends if backend.open is not None), self._backends[0])
        return there.generator()


class RoutedHandle(Readable):
    """A request at the backend that answers it; see :class:`inference.request.Handle`. Has one reader."""

    def __init__(self, route: RoutedGenerator, offers: Iterator[tuple[str, Handle]]) -> None:
        """Raises what ``offers`` does."""
        super().__init__()
        self._route, self._offers = route, offers
        self._begun = False
        self._aborted: list[bool] = []  # filled by any thread, without a lock
        self._backend, self.handle = next(offers)
        self.request_id = self.handle.request_id

    def abort(self) -> None:
        """Takes no lock, like that of ``RequestHandle``; :meth:`_asks_another` looks at it."""
        self._aborted.append(True)
        self.handle.abort()

    def take(self, timeout_s: float | None) -> GenerationEvent | None:
        end = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            event = self.handle.take(None if end is None else max(0.0, end - time.monotonic()))
            if event is None or not self._asks_another(event):
                return event

    async def take_async(self) -> GenerationEvent:
        while True:
            event = await self.handle.take_async()
            if not isinstance(event, Finished):
                self._asks_another(event)
                return event
            if not await asyncio.to_thread(self._asks_another, event):  # asking takes a round trip
                return event

    def _asks_another(self, event: GenerationEvent) -> bool:
        """Looks at each event: whether another backend has the request now, and the event is of no account."""
        if self._begun or self._aborted or not isinstance(event, Finished) or event.error is None:
            if not self._begun:
                self._begun = True
                self._route.note_answer(self._backend)
            return False
        if isinstance(event.error, OF_THE_REQUEST):
            return False
        self._route.pass_over(self._backend, event.error)
        try:
            self._backend, self.handle = next(self._offers)
        except (InferenceError, StopIteration):
            return False
        if self._aborted:
            self.handle.abort()
        return True
