"""From sampled tokens to what the reader sees: text in whole characters, cut at a stop string, and the reason
to end."""

from __future__ import annotations

from typing import Literal

from inference.model.source import TokenStreamSource
from inference.request import Delta, SamplingParams, TokenLogprob
from inference.sampling.stopping import StopMatcher


class OutputAssembler:
    """One request's output. Token ids travel with the text that they complete; an end token leaves no trace."""

    def __init__(
        self, params: SamplingParams, stream: TokenStreamSource, eos_token_ids: frozenset[int]
    ) -> None:
        self._params = params
        self._stream = stream
        self._end_token_ids = frozenset(params.stop_token_ids)
        self._end_token_ids |= frozenset() if params.ignore_eos else eos_token_ids
        self._matcher = StopMatcher(params.stop)
        self._pending_ids: list[int] = []
        self._pending_logprobs: list[TokenLogprob] = []
        self._count = 0

    def push(
        self, token_id: int, logprob: TokenLogprob | None = None
    ) -> tuple[Delta | None, Literal["stop", "length"] | None]:
        """Takes a sampled token; returns what may be shown now, and why the output ends if it does."""
        self._count += 1
        if token_id in self._end_token_ids:
            return self._last(), "stop"
        self._pending_ids.append(token_id)
        if logprob is not None:
            self._pending_logprobs.append(logprob)
        text = self._matcher.push(self._stream.push(token_id))
        if self._matcher.stopped:
            return self._delta(text), "stop"
        if self._count >= self._params.max_tokens:
            rest = self._last(text)
            return rest, "stop" if self._matcher.stopped else "length"
        return (self._delta(text) if text else None), None

    def _last(self, text: str = "") -> Delta | None:
        text += self._matcher.push(self._stream.flush())
        if not self._matcher.stopped:
            text += self._matcher.flush()
        return self._delta(text)

    def _delta(self, text: str) -> Delta | None:
        ids, self._pending_ids = tuple(self._pending_ids), []
        logprobs, self._pending_logprobs = tuple(self._pending_logprobs), []
        return Delta(text, ids, logprobs) if text or ids else None
