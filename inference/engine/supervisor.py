"""Starts a crashed engine again, a bounded number of times.

What always holds: whoever waited for the crashed engine was answered before it starts again; an engine that crashes
once more than is allowed stays dead, so that somebody looks."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable

logger = logging.getLogger(__name__)

WINDOW_S = 600.0
"""The restarts of this last time are counted."""
PAUSES_S = (1.0, 5.0, 20.0)
"""Before the first, the second and every further restart within the window: what broke may pass."""


class Supervisor:
    """At most ``max_restarts`` restarts within ``WINDOW_S``. ``clock`` gives the time in seconds."""

    def __init__(self, max_restarts: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.restarts = 0
        self._max_restarts = max_restarts
        self._clock = clock
        self._recent: deque[float] = deque()

    def run(self, serve: Callable[[], None], recover: Callable[[float], None]) -> None:
        """Calls ``serve`` until it returns. After a crash ``recover`` answers those who wait, pauses for so many
        seconds and makes ``serve`` possible again. Raises the crash that is one too many, and what ``recover`` raises."""
        while True:
            try:
                return serve()
            except BaseException:
                now = self._clock()
                while self._recent and now - self._recent[0] > WINDOW_S:
                    self._recent.popleft()
                if len(self._recent) >= self._max_restarts:
                    raise
                logger.exception("the engine crashed; it is started again")
                pause_s = PAUSES_S[min(len(self._recent), len(PAUSES_S) - 1)]
                self._recent.append(now)
                self.restarts += 1
                recover(pause_s)
