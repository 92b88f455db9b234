"""Carries a step's events to their readers, all at once and without waiting for any of them.

Events are gathered while a step's results are booked and handed over in one go: one wake-up per event loop
and step, however many requests it reads."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence

from inference.engine.handle import RequestHandle
from inference.request import GenerationEvent


class EventRouter:
    """Used by the engine's thread only."""

    def __init__(self) -> None:
        self._pending: dict[RequestHandle, list[GenerationEvent]] = defaultdict(list)

    def post(self, handle: RequestHandle, event: GenerationEvent) -> None:
        self._pending[handle].append(event)

    def flush(self) -> None:
        """Delivers everything that was posted. A loop that was closed meanwhile is passed over."""
        pending, self._pending = self._pending, defaultdict(list)
        wakeups: dict[asyncio.AbstractEventLoop, list[asyncio.Event]] = defaultdict(list)
        for handle, events in pending.items():
            wakeup = handle.deliver(events)
            if wakeup is not None:
                wakeups[wakeup[0]].append(wakeup[1])
        for loop, readers in wakeups.items():
            try:
                loop.call_soon_threadsafe(_wake, readers)
            except RuntimeError:
                continue


def _wake(readers: Sequence[asyncio.Event]) -> None:
    for reader in readers:
        reader.set()
