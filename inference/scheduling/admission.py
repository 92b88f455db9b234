"""Refuses up front what can never run or would wait in a queue without end.

Everything here runs in the caller's thread, before a request is accepted: a request that is let in is never
refused later for its size, and the queue is bounded in requests and in tokens, per share and in all.
"""

from __future__ import annotations

import math
import threading
from collections import Counter

from inference.errors import DeadlineExceeded, InvalidRequest, Overloaded, PromptTooLong
from inference.request import MAX_LOGPROBS, PromptTokens, SamplingParams, Share

SHARE_OF_QUEUE = 0.5
"""The part of the queue that one share may fill."""
MAX_STOPS, MAX_STOP_LENGTH, MAX_STOP_TOKENS = 16, 256, 128
RANGES = (
    ("max_tokens", 1, 1 << 31),
    ("temperature", 0, 100),
    ("top_k", -1, 1 << 31),
    ("min_p", 0, 1),
    ("repetition_penalty", 0.01, 10),
    ("presence_penalty", -2, 2),
    ("frequency_penalty", -2, 2),
    ("seed", -(1 << 63), (1 << 63) - 1),
    ("logprobs", 0, MAX_LOGPROBS),
)
"""The lowest and the highest value of each field. ``top_k`` of 0 or -1 sets no limit."""


def validate(
    prompt: PromptTokens, params: SamplingParams, share: Share, *, max_total: int, vocab_size: int
) -> None:
    """Raises ``InvalidRequest`` for a parameter out of range, ``PromptTooLong`` for what can never fit."""
    length = len(prompt.token_ids)
    if length == 0:
        raise InvalidRequest("The prompt has no tokens.")
    if min(prompt.token_ids) < 0 or max(prompt.token_ids) >= vocab_size:
        raise InvalidRequest(f"The prompt holds a token outside 0..{vocab_size - 1}.")
    if not 0 <= prompt.public_prefix <= length:
        raise InvalidRequest("The public prefix is longer than the prompt.")
    _validate_sampling(params, vocab_size)
    if not (math.isfinite(share.weight) and share.weight > 0):
        raise InvalidRequest("A share's weight must be a number above 0.")
    if length + params.max_tokens > max_total:
        raise PromptTooLong(
            f"The prompt has {length} tokens and asks for up to {params.max_tokens} more; "
            f"at most {max_total} fit together."
        )


def _validate_sampling(params: SamplingParams, vocab_size: int) -> None:
    """No comparison with NaN holds, so that it is refused with what is out of range."""
    for name, lowest, highest in RANGES:
        value = getattr(params, name)
        if value is not None and not lowest <= value <= highest:
            raise InvalidRequest(f"{name} must lie between {lowest} and {highest}.")
    if not 0 < params.top_p <= 1:
        raise InvalidRequest("top_p must be above 0 and at most 1.")
    if len(params.stop) > MAX_STOPS or not all(0 < len(text) <= MAX_STOP_LENGTH for text in params.stop):
        raise InvalidRequest(
            f"stop must be at most {MAX_STOPS} strings of 1 to {MAX_STOP_LENGTH} characters."
        )
    ids = params.stop_token_ids
    if len(ids) > MAX_STOP_TOKENS or not all(0 <= token < vocab_size for token in ids):
        raise InvalidRequest(
            f"stop_token_ids must be at most {MAX_STOP_TOKENS} tokens between 0 and {vocab_size - 1}."
        )


class QueueGate:
    """Counts what waits. Thread-safe: callers enter, the engine's thread leaves."""

    def __init__(self, max_requests: int, max_tokens: int) -> None:
        self._max_requests = max_requests
        self._max_tokens = max_tokens
        self._requests: Counter[str] = Counter()
        self._tokens: Counter[str] = Counter()
        self._total_requests = 0
        self._total_tokens = 0
        self._seconds_per_token = 0.0
        self._lock = threading.Lock()

    @property
    def num_requests(self) -> int:
        return self._total_requests

    @property
    def num_tokens(self) -> int:
        return self._total_tokens

    def enter(self, share_key: str, tokens: int, *, deadline_s: float | None = None) -> None:
        """Counts a request in.

        Raises ``Overloaded`` when the queue, or the share's part of it, is full, and ``DeadlineExceeded``
        when the measured speed says that the queue alone outlasts ``deadline_s``.
        """
        with self._lock:
            wait_s = self._total_tokens * self._seconds_per_token
            share_requests = max(1, int(self._max_requests * SHARE_OF_QUEUE))
            share_tokens = max(tokens, int(self._max_tokens * SHARE_OF_QUEUE))
            if self._total_requests >= self._max_requests or self._over_tokens(tokens):
                raise Overloaded("The queue is full.", retry_after_s=_retry_after(wait_s))
            if self._requests[share_key] >= share_requests or self._tokens[share_key] + tokens > share_tokens:
                raise Overloaded("Your part of the queue is full.", retry_after_s=_retry_after(wait_s))
            if deadline_s is not None and (deadline_s <= 0 or wait_s > deadline_s):
                raise DeadlineExceeded("The request would still be waiting at its deadline.")
            self._requests[share_key] += 1
            self._tokens[share_key] += tokens
            self._total_requests += 1
            self._total_tokens += tokens

    def leave(self, share_key: str, tokens: int) -> None:
        """Counts a request out: it began to run, or ended while waiting."""
        with self._lock:
            self._requests[share_key] -= 1
            self._tokens[share_key] -= tokens
            self._total_requests -= 1
            self._total_tokens -= tokens
            if self._requests[share_key] == 0:
                del self._requests[share_key], self._tokens[share_key]

    def observe(self, tokens: int, seconds: float) -> None:
        """Learns the engine's speed from one step, as a moving average."""
        if tokens > 0:
            sample = seconds / tokens
            with self._lock:
                known = self._seconds_per_token
                self._seconds_per_token = sample if known == 0 else 0.95 * known + 0.05 * sample

    def _over_tokens(self, tokens: int) -> bool:
        return self._total_requests > 0 and self._total_tokens + tokens > self._max_tokens


def _retry_after(wait_s: float) -> int:
    return max(1, min(60, math.ceil(wait_s / 4)))
