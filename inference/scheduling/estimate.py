"""How long a request would take, from what the last steps took.

Two speeds are learned as moving averages: of a token in steps that compute prompts, and of a step in which
everybody decodes. A third average says what part of ``max_tokens`` outputs use."""

from __future__ import annotations

MEMORY = 0.95


class Estimate:
    """Knows nothing at first, and then takes everything to be free. Not thread-safe."""

    def __init__(self) -> None:
        self._seconds = self._tokens = 0.0
        self._decode_s = 0.0
        self._used = 1.0

    def observe(self, tokens: int, seconds: float, *, decoding: bool = False) -> None:
        """Learns from one step; ``decoding``: no prompt was in it."""
        if decoding:
            self._decode_s = _average(self._decode_s, seconds) if self._decode_s else seconds
        elif tokens > 0:
            first = self._tokens == 0
            self._seconds = seconds if first else _average(self._seconds, seconds)
            self._tokens = tokens if first else _average(self._tokens, tokens)

    def observe_end(self, used: float) -> None:
        """Learns the part of its ``max_tokens`` that a request used, 0 to 1."""
        self._used = _average(self._used, used)

    def together_s(self, prompt_tokens: float, output_tokens: float) -> float:
        """Seconds for the tokens of many requests in full steps."""
        speed = self._seconds / self._tokens if self._tokens else 0.0
        return (prompt_tokens + output_tokens * self._used) * speed

    def alone_s(self, prompt_tokens: int, output_tokens: int) -> float:
        """Seconds for one request that waits for nobody: its prompt in full steps, its output token by token."""
        if not self._decode_s:
            return self.together_s(prompt_tokens, output_tokens)
        return self.together_s(prompt_tokens, 0) + output_tokens * self._used * self._decode_s


def _average(known: float, sample: float) -> float:
    return MEMORY * known + (1 - MEMORY) * sample
