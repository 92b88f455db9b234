"""Finds stop strings in streamed text, and holds back what could still become one."""

from __future__ import annotations


class StopMatcher:
    """Feeds on pieces of text. Text up to the first stop string comes out, exactly once and in order."""

    def __init__(self, stops: tuple[str, ...]) -> None:
        self._stops = stops
        self._held = ""
        self.stopped = False

    def push(self, text: str) -> str:
        """Takes the next piece; returns what is now sure to be output. Sets ``stopped`` at a stop string."""
        if not self._stops:
            return text
        self._held += text
        found = [index for index in (self._held.find(stop) for stop in self._stops) if index >= 0]
        if found:
            self.stopped = True
            sure, self._held = self._held[: min(found)], ""
            return sure
        keep = max(self._overlap(stop) for stop in self._stops)
        cut = len(self._held) - keep
        sure, self._held = self._held[:cut], self._held[cut:]
        return sure

    def flush(self) -> str:
        """What was held back, at the end of the output."""
        held, self._held = self._held, ""
        return held

    def _overlap(self, stop: str) -> int:
        """The length of the longest end of the held text that begins ``stop``."""
        longest = min(len(stop) - 1, len(self._held))
        return next((size for size in range(longest, 0, -1) if self._held.endswith(stop[:size])), 0)
