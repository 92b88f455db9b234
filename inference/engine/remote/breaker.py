"""Leaves a server that fails alone for a while, and then asks it with one request before all the others."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import Literal

from inference.errors import Overloaded

State = Literal["closed", "open", "half_open"]


class CircuitBreaker:
    """Closed until ``failures`` requests failed in a row; then open for ``pause_s``, longer after each probe that
    fails; then half-open, when one request passes as the probe. Whoever may not pass is refused at once with
    ``Overloaded``. Thread-safe."""

    def __init__(
        self,
        *,
        failures: int = 5,
        pause_s: float = 5.0,
        max_pause_s: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limit, self._clock = failures, clock
        self._first_pause_s, self._max_pause_s = pause_s, max_pause_s
        self._pause_s = pause_s
        self._lock = threading.RLock()
        self._failures = 0
        self._opened_at: float | None = None
        self._probing = False

    @property
    def state(self) -> State:
        if self._opened_at is None:
            return "closed"
        return "open" if self._wait_s() > 0 else "half_open"

    def check(self) -> None:
        """Raises ``Overloaded`` where :meth:`enter` would; lets nobody in."""
        with self._lock:
            if self._opened_at is not None and (self._wait_s() > 0 or self._probing):
                wait = max(1, math.ceil(self._wait_s()))
                raise Overloaded(
                    "The model's server fails and is left alone for a while.", retry_after_s=wait
                )

    def enter(self) -> bool:
        """Lets one attempt pass; whether it is the probe. Raises ``Overloaded``."""
        with self._lock:
            self.check()
            probe = self._opened_at is not None
            self._probing = self._probing or probe
            return probe

    def succeeded(self) -> None:
        """The server answered."""
        with self._lock:
            self._failures, self._opened_at, self._probing = 0, None, False
            self._pause_s = self._first_pause_s

    def failed(self) -> None:
        with self._lock:
            self._failures += 1
            if self._probing:
                self._pause_s = min(2 * self._pause_s, self._max_pause_s)
            if self._probing or (self._opened_at is None and self._failures >= self._limit):
                self._opened_at, self._probing = self._clock(), False

    def left(self, probe: bool) -> None:
        """An attempt ended; one that was the probe without a verdict, as when it was aborted, frees its place."""
        if probe:
            with self._lock:
                self._probing = False

    def _wait_s(self) -> float:
        opened = self._opened_at
        return 0.0 if opened is None else opened + self._pause_s - self._clock()
