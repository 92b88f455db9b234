"""Answers under way in this process: each on a thread of its own, read by as many as like, from any event on.

What always holds: a generation never waits for a reader and a reader never holds a thread; events are kept
until some time after the end, so that a reader who comes back misses nothing; a generation that nobody has
read for ``ABANDONED_AFTER_S`` is stopped; its end is in the database before it is in the stream.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any
from uuid import UUID

from django.db import connections

from inference.errors import Overloaded
from search.answering import StopSignal
from search.events import PING, PING_EVERY_S, frame

logger = logging.getLogger(__name__)

ABANDONED_AFTER_S = 15.0
KEPT_S = 120.0
MOST_RUNNING = 256

Event = tuple[str, dict[str, Any]]
Produce = Callable[[StopSignal], Iterator[Event]]
FAILED: Event = ("error", {"code": "server_error", "message": "Something went wrong on the server."})


class Stream:
    """The events of one answer. Written by one thread, read by any number of coroutines and threads."""

    def __init__(self, abandoned_after_s: float = ABANDONED_AFTER_S) -> None:
        self.signal = StopSignal()
        self.ended_at: float | None = None
        self._events: list[Event] = []
        self._changed = threading.Condition()
        self._wakeups: set[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = set()
        self._readers = 0
        self._abandoned_after_s = abandoned_after_s
        self._timer: threading.Timer | None = None
        self._arm()

    def publish(self, event: Event) -> None:
        with self._changed:
            self._events.append(event)
            self._wake()

    def close(self) -> None:
        """Says that nothing follows. Readers end once they have read everything."""
        with self._changed:
            self.ended_at = time.monotonic()
            self._disarm()
            self._wake()

    def stop(self) -> None:
        """Stops the generation; its end follows as an event."""
        self.signal.stop()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Waits, as a reader, for the end. Returns whether it came."""
        with self._changed:
            self._enter()
            try:
                return self._changed.wait_for(lambda: self.ended_at is not None, timeout_s)
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
                with self._changed:
                    wakeup[1].clear()
                    new, ended = self._events[after:], self.ended_at is not None
                for name, data in new:
                    after += 1
                    yield frame(after, name, data)
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
        self._readers += 1
        self._disarm()

    def _leave(self) -> None:
        self._readers -= 1
        if not self._readers and self.ended_at is None:
            self._arm()

    def _arm(self) -> None:
        self._timer = threading.Timer(self._abandoned_after_s, self.stop)
        self._timer.daemon = True
        self._timer.start()

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


_lock = threading.Lock()
_streams: dict[UUID, Stream] = {}


def start(turn_id: UUID, produce: Produce) -> Stream:
    """Runs ``produce`` on a thread of its own and keeps its events under ``turn_id``.

    Raises ``Overloaded`` when this process makes as many answers as it can hold.
    """
    with _lock:
        _forget_old()
        if sum(stream.ended_at is None for stream in _streams.values()) >= MOST_RUNNING:
            raise Overloaded("Too many questions are being answered.")
        before = _streams.get(turn_id)
        stream = _streams[turn_id] = Stream()
    if before is not None:
        before.stop()
    threading.Thread(target=_run, args=(stream, produce), name=f"answer-{turn_id}", daemon=True).start()
    return stream


def find(turn_id: UUID) -> Stream | None:
    """The stream of this turn, if it runs or ran in this process a moment ago."""
    return _streams.get(turn_id)


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


def _forget_old() -> None:
    now = time.monotonic()
    for turn_id, stream in list(_streams.items()):
        if stream.ended_at is not None and now - stream.ended_at > KEPT_S:
            del _streams[turn_id]
