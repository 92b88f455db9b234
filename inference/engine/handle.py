"""The caller's end of a request: events come in from the engine's thread, threads and coroutines read them.

What always holds: delivering never waits for a reader; the last event is the one ``Finished``, and nothing
follows it; a reader that goes away (closes its iterator, or drops it) aborts the request; aborting twice is
aborting once."""

from __future__ import annotations

import asyncio
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator

from inference.request import Delta, Finished, GenerationEvent

Wakeup = tuple[asyncio.AbstractEventLoop, asyncio.Event]


class Readable(ABC):
    """Reads of an :class:`inference.request.Handle`, made of its :meth:`take` and :meth:`take_async`."""

    request_id: str

    def __init__(self) -> None:
        self._unread: deque[Delta] = deque()

    @abstractmethod
    def take(self, timeout_s: float | None) -> GenerationEvent | None: ...

    @abstractmethod
    async def take_async(self) -> GenerationEvent: ...

    @abstractmethod
    def abort(self) -> None: ...

    def __iter__(self) -> EventReader:
        return EventReader(self)

    def __aiter__(self) -> EventReader:
        return EventReader(self)

    def result(self, timeout_s: float | None = None) -> tuple[str, Finished]:
        """Reads what is left of the output; returns its text and the terminal event.

        Raises ``TimeoutError`` after ``timeout_s`` seconds; what was read so far can then be read again."""
        end = None if timeout_s is None else time.monotonic() + timeout_s
        seen: list[Delta] = []
        while True:
            event = self.next(None if end is None else max(0.0, end - time.monotonic()))
            if event is None:
                self._unread.extend(seen)
                raise TimeoutError(f"request {self.request_id} did not finish within {timeout_s} s")
            if isinstance(event, Finished):
                return "".join(delta.text for delta in seen), event
            seen.append(event)

    def next(self, timeout_s: float | None) -> GenerationEvent | None:
        """What a read before gave back, else :meth:`take`."""
        return self._unread.popleft() if self._unread else self.take(timeout_s)

    async def next_async(self) -> GenerationEvent:
        return self._unread.popleft() if self._unread else await self.take_async()


class EventReader(Iterator[GenerationEvent], AsyncIterator[GenerationEvent]):
    """Ends after ``Finished``, and aborts the request when it is left before it."""

    def __init__(self, request: Readable) -> None:
        self._request = request
        self._done = False

    def __next__(self) -> GenerationEvent:
        event = None if self._done else self._request.next(None)
        if event is None:
            raise StopIteration
        self._done = isinstance(event, Finished)
        return event

    async def __anext__(self) -> GenerationEvent:
        if self._done:
            raise StopAsyncIteration
        event = await self._request.next_async()
        self._done = isinstance(event, Finished)
        return event

    def close(self) -> None:
        """Ends the reading; aborts the request unless its end was read."""
        if not self._done:
            self._done = True
            self._request.abort()

    async def aclose(self) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()


class RequestHandle(Readable):
    """One submitted request; see :class:`inference.request.Handle`. It has one reader."""

    def __init__(self, request_id: str, abort: Callable[[str], None]) -> None:
        super().__init__()
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

    def abort(self) -> None:
        """Asks the engine to stop. Returns at once; the terminal event follows. Safe from any thread."""
        if self._finished is None:
            self._abort(self.request_id)

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

    def take(self, timeout_s: float | None) -> GenerationEvent | None:
        with self._condition:
            self._condition.wait_for(lambda: self._events or self._finished, timeout_s)
            return self._pop()

    async def take_async(self) -> GenerationEvent:
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
        return self._events.popleft() if self._events else self._finished
