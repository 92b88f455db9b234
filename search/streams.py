"""Answers under way: each made on a thread of its own, read and stopped by as many as like, from any event on.

What always holds: a generation never waits for a reader and a reader never holds a thread; events are kept
until some time after the end, so that a reader who comes back misses nothing; a generation that nobody has
read for ``ABANDONED_AFTER_S`` is stopped; its end is in the database before it is in the stream. A run is
named by its organisation and its turn, so that nobody reaches another organisation's by a turn's id.
"""

from __future__ import annotations

import asyncio
import enum
import logging
import threading
import time
from bisect import bisect_right
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

from django.conf import settings
from django.db import connections

from inference.errors import Overloaded
from search.events import PING, PING_EVERY_S, frame
from search.generating import StopSignal

logger = logging.getLogger(__name__)

ABANDONED_AFTER_S = 15.0
KEPT_S = 120.0
MOST_RUNNING = 256
MOST_EVENTS = 4096
"""Most events that are kept of one run. The oldest go first; the last one holds the whole answer anyway."""

Event = tuple[str, dict[str, Any]]
Produce = Callable[[StopSignal], Iterator[Event]]
FAILED: Event = ("error", {"code": "server_error", "message": "Something went wrong on the server."})


@dataclass(frozen=True, slots=True)
class RunKey:
    """Names the making of one turn's answer."""

    organization_id: int
    turn_id: UUID


class Ending(enum.Enum):
    """Why nothing follows in a stream."""

    COMPLETE = "complete"
    """Its last event was told."""
    LOST = "lost"
    """The process that made the answer is gone."""
    CUT = "cut"
    """The store cannot be reached, and nothing is known of the process that makes the answer."""


class StreamsUnavailable(Exception):
    """The store cannot be asked now. The row of the turn still can."""


class Stream:
    """The events of one answer. Written by one thread, read by any number of coroutines and threads."""

    def __init__(self, abandoned_after_s: float | None = None) -> None:
        """``abandoned_after_s``: stop it after so long without a reader; None leaves that to the owner."""
        self.signal = StopSignal()
        self.ending: Ending | None = None
        self.ended_at: float | None = None
        self.readers = 0
        self._events: list[tuple[int, Event]] = []
        self._changed = threading.Condition()
        self._wakeups: set[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = set()
        self._abandoned_after_s = abandoned_after_s
        self._timer: threading.Timer | None = None
        self._arm()

    @property
    def last(self) -> int:
        """The number of the newest event; 0 before the first."""
        with self._changed:
            return self._events[-1][0] if self._events else 0

    def publish(self, event: Event, number: int | None = None) -> None:
        """Adds an event under the next number, or under ``number``, which must be larger than the last."""
        with self._changed:
            last = self._events[-1][0] if self._events else 0
            self._events.append((last + 1 if number is None else number, event))
            if len(self._events) > MOST_EVENTS:
                del self._events[: MOST_EVENTS // 8]
            self._wake()

    def close(self, ending: Ending = Ending.COMPLETE) -> None:
        """Says that nothing follows. Readers end once they have read everything."""
        with self._changed:
            if self.ending is None:
                self.ending, self.ended_at = ending, time.monotonic()
            self._disarm()
            self._wake()

    def stop(self) -> None:
        """Stops the generation; its end follows as an event."""
        self.signal.stop()

    def after(self, number: int, most: int | None = None) -> list[tuple[int, Event]]:
        """The events with a larger number, oldest first."""
        with self._changed:
            start = bisect_right(self._events, number, key=lambda numbered: numbered[0])
            return self._events[start : None if most is None else start + most]

    def wait(self, timeout_s: float | None = None) -> bool:
        """Waits, as a reader, for the end. Returns whether it came."""
        with self._changed:
            self._enter()
            try:
                return self._changed.wait_for(lambda: self.ending is not None, timeout_s)
            finally:
                self._leave()

    async def read(self, after: int = 0, *, ping_every_s: float = PING_EVERY_S) -> AsyncIterator[bytes]:
        """The events after number ``after`` as they come, on the wire, with a ping in every silence."""
        wakeup = (asyncio.get_running_loop(), asyncio.Event())
        with self._changed:
            self._enter()
            self._wakeups.add(wakeup)
        try:
            while True:
                wakeup[1].clear()
                ended = self.ending is not None
                new = self.after(after)
                for number, (name, data) in new:
                    after = number
                    yield frame(number, name, data)
                if ended:
                    return
                if not new:
                    try:
                        await asyncio.wait_for(wakeup[1].wait(), ping_every_s)
                    except TimeoutError:
                        yield PING
        finally:
            with self._changed:
                self._wakeups.discard(wakeup)
                self._leave()

    def _wake(self) -> None:
        self._changed.notify_all()
        for loop, event in list(self._wakeups):
            try:
                loop.call_soon_threadsafe(event.set)
            except RuntimeError:  # the reader's loop is gone, and its reader with it
                self._wakeups.discard((loop, event))

    def _enter(self) -> None:
        self.readers += 1
        self._disarm()

    def _leave(self) -> None:
        self.readers -= 1
        if not self.readers and self.ending is None:
            self._arm()

    def _arm(self) -> None:
        if self._abandoned_after_s is not None:
            self._timer = threading.Timer(self._abandoned_after_s, self.stop)
            self._timer.daemon = True
            self._timer.start()

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class StreamStore(Protocol):
    """Where the streams of an installation are found. Thread-safe; not for an event loop, it may wait for
    the network."""

    def open(self, run: RunKey) -> Stream:
        """A stream that this process writes; an earlier one of the same turn is stopped, wherever it is.

        Raises ``Overloaded`` when this process makes as many answers as it can hold.
        """
        ...

    def find(self, run: RunKey) -> Stream | None:
        """The stream of this run, whichever process makes it, until some time after its end.

        It ends as ``LOST`` a bounded time after its process died. Raises :class:`StreamsUnavailable`.
        """
        ...

    def forget_organization(self, organization_id: int) -> None:
        """Stops the organisation's answers that this process makes and removes all its events.

        What another process was making expires. Raises :class:`StreamsUnavailable`.
        """
        ...

    def close(self) -> None:
        """Ends what serves the streams. Those that this process writes are then lost for the others."""
        ...


class MemoryStreams:
    """The :class:`StreamStore` of an installation that is one process."""

    def __init__(self, *, abandoned_after_s: float = ABANDONED_AFTER_S, kept_s: float = KEPT_S) -> None:
        self._abandoned_after_s = abandoned_after_s
        self._kept_s = kept_s
        self._lock = threading.Lock()
        self._streams: dict[RunKey, Stream] = {}

    def open(self, run: RunKey) -> Stream:
        with self._lock:
            self._forget()
            refuse_too_many(self._streams.values())
            before = self._streams.get(run)
            stream = self._streams[run] = Stream(self._abandoned_after_s)
        if before is not None:
            before.stop()
        return stream

    def find(self, run: RunKey) -> Stream | None:
        with self._lock:
            self._forget()
            return self._streams.get(run)

    def forget_organization(self, organization_id: int) -> None:
        with self._lock:
            for run in [run for run in self._streams if run.organization_id == organization_id]:
                self._streams.pop(run).stop()

    def close(self) -> None:
        with self._lock:
            self._streams.clear()

    def _forget(self) -> None:
        now = time.monotonic()
        for run, stream in list(self._streams.items()):
            if stream.ended_at is not None and now - stream.ended_at > self._kept_s:
                del self._streams[run]


def refuse_too_many(streams: Any) -> None:
    """Raises ``Overloaded`` when as many of ``streams`` run as one process may hold."""
    if sum(stream.ending is None for stream in streams) >= MOST_RUNNING:
        raise Overloaded("Too many questions are being answered.")


_guard = threading.Lock()
_store: StreamStore | None = None


def store() -> StreamStore:
    """The store of this process: Redis where the settings name one, otherwise its own memory."""
    global _store
    with _guard:
        if _store is None:
            if settings.ENV.redis_url:
                from search.redis_streams import RedisStreams

                _store = RedisStreams(settings.ENV.redis_url)
            else:
                _store = MemoryStreams()
        return _store


def install(replacement: StreamStore | None) -> None:
    """Makes ``replacement`` the store of this process; None chooses by the settings again."""
    global _store
    with _guard:
        _store = replacement


def start(run: RunKey, produce: Produce) -> Stream:
    """Runs ``produce`` on a thread of its own and gives its events to the stream of ``run``.

    Raises ``Overloaded`` when this process makes as many answers as it can hold.
    """
    stream = store().open(run)
    name = f"answer-{run.turn_id}"
    try:
        threading.Thread(target=_run, args=(stream, produce), name=name, daemon=True).start()
    except RuntimeError as error:  # there are no more threads; what was opened must not look alive for ever
        stream.close()
        raise Overloaded("Too many questions are being answered.") from error
    return stream


def find(run: RunKey) -> Stream | None:
    """As :meth:`StreamStore.find`."""
    return store().find(run)


def _run(stream: Stream, produce: Produce) -> None:
    try:
        for event in produce(stream.signal):
            stream.publish(event)
    except Exception:
        logger.exception("an answer failed")
        stream.publish(FAILED)
    finally:
        connections.close_all()
        stream.close()
