"""Refuses up front what can never run or would wait in a queue without end.

Everything here runs in the caller's thread, before a request is accepted: a request that is let in is never
refused later for its size, and the queue is bounded in requests and in tokens, per share and in all."""

from __future__ import annotations

import math
import threading
from collections import defaultdict
from dataclasses import dataclass

from inference.errors import DeadlineExceeded, InvalidRequest, Overloaded, PromptTooLong
from inference.request import MAX_LOGPROBS, PromptTokens, SamplingParams, Share
from inference.scheduling.estimate import Estimate
from inference.scheduling.sequence import Sequence

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


@dataclass(slots=True)
class _Part:
    """What waits of one share, or in all; ``outputs`` are the most tokens that it may answer."""

    requests: int = 0
    prompts: int = 0
    outputs: int = 0

    @property
    def tokens(self) -> int:
        return self.prompts + self.outputs

    def add(self, sequence: Sequence, times: int) -> None:
        self.requests += times
        self.prompts += times * sequence.num_prompt
        self.outputs += times * sequence.params.max_tokens


class QueueGate:
    """Counts what waits. Thread-safe: callers enter, the engine's thread leaves."""

    def __init__(self, max_requests: int, max_tokens: int) -> None:
        self._max_requests = max_requests
        self._max_tokens = max_tokens
        self._all = _Part()
        self._parts: defaultdict[str, _Part] = defaultdict(_Part)
        self._estimate = Estimate()
        self._lock = threading.Lock()

    @property
    def num_requests(self) -> int:
        return self._all.requests

    @property
    def num_tokens(self) -> int:
        return self._all.tokens

    def enter(self, sequence: Sequence, *, deadline_s: float | None = None) -> None:
        """Counts a request in.

        Raises ``Overloaded`` when the queue, or the share's part of it, is full, and ``DeadlineExceeded`` when by the
        speed of the last steps it would not be done within ``deadline_s``: its share's queue, as long again for each
        other share that waits, its own prompt and its output."""
        key, tokens = sequence.share.key, sequence.queue_tokens
        with self._lock:
            own = self._parts.get(key) or _Part()
            beyond = self._all.requests > 0 and self._all.tokens + tokens > self._max_tokens
            if self._all.requests >= self._max_requests or beyond:
                raise Overloaded("The queue is full.", retry_after_s=self._retry_after())
            most = max(tokens, int(self._max_tokens * SHARE_OF_QUEUE))
            if own.requests >= max(1, int(self._max_requests * SHARE_OF_QUEUE)) or own.tokens + tokens > most:
                raise Overloaded("Your part of the queue is full.", retry_after_s=self._retry_after())
            if deadline_s is not None:
                fair_s = self._estimate.together_s(own.prompts, own.outputs) * len(self._parts)
                needed_s = min(fair_s, self._all_s())
                needed_s += self._estimate.alone_s(sequence.num_prompt, sequence.params.max_tokens)
                if deadline_s <= 0 or needed_s > deadline_s:
                    raise DeadlineExceeded(
                        f"The request would take about {math.ceil(needed_s)} s, beyond its deadline."
                    )
            for part in (self._all, self._parts[key]):
                part.add(sequence, 1)
            sequence.in_gate = True

    def leave(self, sequence: Sequence) -> bool:
        """Counts a request out, which began to run or ended while waiting; False where it is not counted."""
        with self._lock:
            if not sequence.in_gate:
                return False
            sequence.in_gate = False
            for part in (self._all, self._parts[sequence.share.key]):
                part.add(sequence, -1)
            if not self._parts[sequence.share.key].requests:
                del self._parts[sequence.share.key]
            return True

    def observe(self, tokens: int, seconds: float, *, decoding: bool = False) -> None:
        """Learns the engine's speed from one step; ``decoding``: no prompt was in it."""
        with self._lock:
            self._estimate.observe(tokens, seconds, decoding=decoding)

    def observe_end(self, used: float) -> None:
        """Learns the part of its ``max_tokens`` that a request used."""
        with self._lock:
            self._estimate.observe_end(used)

    def _all_s(self) -> float:
        return self._estimate.together_s(self._all.prompts, self._all.outputs)

    def _retry_after(self) -> int:
        return max(1, min(60, math.ceil(self._all_s() / 4)))
