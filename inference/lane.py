"""One compute lane per device: whoever computes, computes alone.

Two pools of threads that fight for the same cores make both slow, so engine steps, query embeddings and
ingestion batches take turns. What always holds: one function runs at a time; among those that wait, the
highest class goes first and within it the first that came. Batch work waits for a pause between engine steps,
but never for longer than ``patience_s``, so that ingestion advances under load."""

from __future__ import annotations

import heapq
import threading
import time
from collections.abc import Callable
from enum import IntEnum
from typing import TypeVar

T = TypeVar("T")

QUIET_S = 0.02
"""An engine that has taken no step for so long is taken to be idle."""


class LanePriority(IntEnum):
    """Query embeddings first, then engine steps, then ingestion (in batches of at most 200 ms)."""

    INTERACTIVE = 0
    ENGINE = 1
    BATCH = 2


class ComputeLane:
    """A priority lock around one device. Thread-safe; a function that runs in the lane may use it again."""

    def __init__(self, *, patience_s: float = 0.5) -> None:
        self._condition = threading.Condition()
        self._waiting: list[tuple[LanePriority, int, float]] = []
        self._tickets = 0
        self._owner: int | None = None
        self._patience_s = patience_s
        self._engine_left_at = float("-inf")

    def run(self, priority: LanePriority, fn: Callable[[], T]) -> T:
        """Waits for the lane, runs ``fn`` and returns its result; its exceptions pass through."""
        if self._owner == threading.get_ident():
            return fn()
        self._acquire(priority)
        try:
            return fn()
        finally:
            with self._condition:
                self._owner = None
                if priority is LanePriority.ENGINE:
                    self._engine_left_at = time.monotonic()
                self._condition.notify_all()

    def _acquire(self, priority: LanePriority) -> None:
        with self._condition:
            self._tickets += 1
            entry = (priority, self._tickets, time.monotonic())
            heapq.heappush(self._waiting, entry)
            try:
                while self._owner is not None or self._next(time.monotonic()) != entry:
                    self._condition.wait(QUIET_S / 2 if priority is LanePriority.BATCH else None)
                self._owner = threading.get_ident()
            finally:
                self._waiting.remove(entry)
                heapq.heapify(self._waiting)
                self._condition.notify_all()

    def _next(self, now: float) -> tuple[LanePriority, int, float] | None:
        """Whose turn it is, of those that wait; None while batch work lets the engine come back first."""
        overdue = [
            entry
            for entry in self._waiting
            if entry[0] is LanePriority.BATCH and now - entry[2] >= self._patience_s
        ]
        first = self._waiting[0]
        if overdue and first[0] is not LanePriority.INTERACTIVE:
            return min(overdue)
        if first[0] is LanePriority.BATCH and now - self._engine_left_at < QUIET_S:
            return None
        return first
