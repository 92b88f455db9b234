"""What is asked of the engine and what comes back: plain, frozen values that cross threads."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Literal, Protocol

from inference.errors import InferenceError

MAX_LOGPROBS = 20
FinishReason = Literal["stop", "length", "aborted", "error"]
Health = Literal["ok", "restarting", "failed"]


class Priority(IntEnum):
    """Interactive work goes first, batch work last."""

    INTERACTIVE = 0
    API = 1
    BATCH = 2


@dataclass(frozen=True, slots=True)
class Share:
    """Whose part of the machine a request uses.

    ``cache_salt`` separates prefix-cache entries: blocks beyond the public prefix match only under an equal salt.
    """

    key: str
    weight: float = 1.0
    cache_salt: bytes = b""


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How tokens are chosen; :mod:`inference.scheduling.admission` holds the ranges.

    ``temperature == 0`` is greedy; equal seeds choose alike. ``stop`` strings and ``stop_token_ids`` are not part of
    the output. ``repetition_penalty`` counts the prompt too, the other two the output alone. ``logprobs``: how many
    likeliest alternatives to report beside each chosen token; None reports nothing.
    """

    max_tokens: int = 256
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    ignore_eos: bool = False
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    stop_token_ids: tuple[int, ...] = ()
    logprobs: int | None = None

    @property
    def penalized(self) -> bool:
        """Whether earlier tokens change the scores of later ones."""
        return (self.repetition_penalty, self.presence_penalty, self.frequency_penalty) != (1, 0, 0)

    @property
    def plainly_greedy(self) -> bool:
        """Whether the token with the largest logit is all that is asked for."""
        return self.temperature == 0 and self.logprobs is None and not self.penalized


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """One message of a conversation. ``public`` text is the same for everybody and may be cached across shares
    (only leading messages count)."""

    role: Literal["system", "user", "assistant"]
    content: str
    public: bool = False


@dataclass(frozen=True, slots=True)
class PromptTokens:
    """A tokenized prompt. The first ``public_prefix`` tokens are shared between all shares. ``messages``: what it was
    rendered from, for a route whose other models must render it anew."""

    token_ids: tuple[int, ...]
    public_prefix: int = 0
    messages: tuple[ChatMessage, ...] = field(default=(), compare=False)


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens counted and times measured for one request (seconds; ``None`` before the first token)."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0
    time_to_first_token_s: float | None = None
    total_s: float | None = None


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """How likely the model, before penalties and temperature, held a chosen token, and the likeliest ones: pairs of
    token and natural logarithm, best first."""

    token_id: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of output: whole Unicode characters only. ``logprobs``, if asked for: one for each token."""

    text: str
    token_ids: tuple[int, ...] = ()
    logprobs: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True, slots=True)
class Finished:
    """The one terminal event of a request."""

    reason: FinishReason
    usage: Usage
    error: InferenceError | None = None


GenerationEvent = Delta | Finished


@dataclass(frozen=True, slots=True)
class LiveRequest:
    """A request at hand, for the operator's eyes. ``age_s``: seconds since it was submitted."""

    share: str
    priority: int
    phase: Literal["waiting", "prefill", "decode"]
    prompt_tokens: int
    computed_tokens: int
    output_tokens: int
    age_s: float


class Handle(Protocol):
    """A submitted request. Iterating yields :class:`Delta` values and ends after one :class:`Finished`.

    Closing either iterator early aborts the request; ``abort`` is idempotent and may come from any thread.
    """

    request_id: str

    def __iter__(self) -> Iterator[GenerationEvent]: ...

    def __aiter__(self) -> AsyncIterator[GenerationEvent]: ...

    def take(self, timeout_s: float | None) -> GenerationEvent | None:
        """The next event, or None when none comes in time. ``Finished`` can be taken again and again."""
        ...

    async def take_async(self) -> GenerationEvent: ...

    def abort(self) -> None: ...

    def result(self, timeout_s: float | None = None) -> tuple[str, Finished]:
        """Waits for the end; returns the whole text and the terminal event. Raises ``TimeoutError``."""
        ...


class TextGenerator(Protocol):
    """The engine, in process or remote (:mod:`inference.engine.remote`)."""

    model_name: str

    @property
    def max_model_len(self) -> int:
        """Prompt and output together, in tokens."""
        ...

    @property
    def health(self) -> Health:
        """``restarting``: it crashed and is about to serve again; ``failed``: it died, for good."""
        ...

    def submit(
        self,
        prompt: PromptTokens,
        params: SamplingParams,
        *,
        share: Share,
        priority: Priority = Priority.INTERACTIVE,
        deadline_s: float | None = None,
    ) -> Handle:
        """Queues a request and returns at once. Thread-safe.

        Raises ``PromptTooLong``, ``Overloaded``, ``InvalidRequest``, ``EngineStopped``.
        """
        ...

    def render_chat(self, messages: Sequence[ChatMessage]) -> PromptTokens:
        """Applies the model's chat template, with the assistant's turn opened at the end. Special-token strings
        inside ``content`` are encoded as plain text."""
        ...

    def count_tokens(self, text: str) -> int:
        """How many tokens ``text`` has as plain text."""
        ...

    def encode(self, text: str) -> list[int]:
        """Tokens of plain text; the strings of control tokens in it are text."""
        ...

    def token_bytes(self, token_id: int) -> bytes:
        """A token's text in UTF-8, perhaps half a character; none where the tokenizer is far away."""
        ...

    def metrics(self) -> dict[str, float]:
        """Counters and gauges under vLLM's names, for instance ``num_requests_running``."""
        ...

    def live(self) -> list[LiveRequest]:
        """The requests at hand, as of now, for the operator."""
        ...

    def stop(self) -> None: ...
