"""The caller's end of a request: events come in from the engine's thread, threads and coroutines read them.

What always holds: delivering never waits for a reader; the last event is the one ``Finished``, and nothing
follows it; a reader that goes away (closes its iterator, or drops it) aborts the request; aborting twice is
aborting once.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator

from inference.request import Delta, Finished, GenerationEvent

Wakeup = tuple[asyncio.AbstractEventLoop, asyncio.Event]


class RequestHandle:
    """One submitted request; see :class:`inference.request.Handle`. It has one reader."""

    def __init__(self, request_id: str, abort: Callable[[str], None]) -> None:
        self.request_id = request_id
        self._abort = abort
        self._events: deque[GenerationEvent] = deque()
        self._condition = threading.Condition()
        self._wakeup: Wakeup | None = None
        self._finished: Finished | None = None

    @property
    def finished(self) -> Finished | None:
        """The terminal event once it was delivered, read or not."""
        return self._finished

    def __iter__(self) -> Iterator[GenerationEvent]:
        return EventIterator(self)

    def __aiter__(self) -> AsyncIterator[GenerationEvent]:
        return AsyncEventIterator(self)

    def abort(self) -> None:
        """Asks the engine to stop. Returns at once; the terminal event follows. Safe from any thread."""
        if self._finished is None:
            self._abort(self.request_id)

    def result(self, timeout_s: float | None = None) -> tuple[str, Finished]:
        """Reads what is left of the output; returns its text and the terminal event.

        Raises ``TimeoutError`` after ``timeout_s`` seconds; what was read so far is then put back.
        """
        end = None if timeout_s is None else time.monotonic() + timeout_s
        seen: list[Delta] = []
        while True:
            event = self._take(None if end is None else max(0.0, end - time.monotonic()))
            if event is None:
                with self._condition:
                    self._events.extendleft(reversed(seen))
                raise TimeoutError(f"request {self.request_id} did not finish within {timeout_s} s")
            if isinstance(event, Finished):
                return "".join(delta.text for delta in seen), event
            seen.append(event)

    def deliver(self, events: Iterable[GenerationEvent]) -> Wakeup | None:
        """For the engine's thread only. Returns whom to wake in an event loop, if anybody waits there."""
        with self._condition:
            for event in events:
                if self._finished is None:
                    self._events.append(event)
                    if isinstance(event, Finished):
                        self._finished = event
            self._condition.notify_all()
            return self._wakeup

    def _take(self, timeout_s: float | None) -> GenerationEvent | None:
        """The next event, or None when none comes in time. ``Finished`` can be read again and again."""
        with self._condition:
            self._condition.wait_for(lambda: self._events or self._finished, timeout_s)
            return self._pop()

    async def _take_async(self) -> GenerationEvent:
        event = asyncio.Event()
        while True:
            with self._condition:
                taken = self._pop()
                if taken is not None:
                    self._wakeup = None
                    return taken
                event.clear()
                self._wakeup = (asyncio.get_running_loop(), event)
            await event.wait()

    def _pop(self) -> GenerationEvent | None:
        if self._events:
            return self._events.popleft()
        return self._finished


class _Reader:
    """What both iterators share: they end after ``Finished`` and abort when they are left before it."""

    def __init__(self, handle: RequestHandle) -> None:
        self._handle = handle
        self._done = False

    def close(self) -> None:
        """Ends the reading; aborts the request unless its end was read."""
        if not self._done:
            self._done = True
            self._handle.abort()

    def __del__(self) -> None:
        self.close()

    def _note(self, event: GenerationEvent) -> GenerationEvent:
        self._done = isinstance(event, Finished)
        return event


class EventIterator(_Reader, Iterator[GenerationEvent]):
    def __next__(self) -> GenerationEvent:
        event = None if self._done else self._handle._take(None)
        if event is None:
            raise StopIteration
        return self._note(event)


class AsyncEventIterator(_Reader, AsyncIterator[GenerationEvent]):
    async def __anext__(self) -> GenerationEvent:
        if self._done:
            raise StopAsyncIteration
        return self._note(await self._handle._take_async())

    async def aclose(self) -> None:
        self.close()
