"""What is asked of the engine and what comes back: plain, frozen values that cross threads."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Literal, Protocol

from inference.errors import InferenceError

FinishReason = Literal["stop", "length", "aborted", "error"]


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
    """How tokens are chosen. ``temperature == 0`` is greedy. ``stop`` strings are not part of the output."""

    max_tokens: int = 256
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    ignore_eos: bool = False


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """One message of a conversation. ``public`` text is the same for everybody and may be cached across shares
    (only leading messages count)."""

    role: Literal["system", "user", "assistant"]
    content: str
    public: bool = False


@dataclass(frozen=True, slots=True)
class PromptTokens:
    """A tokenized prompt. The first ``public_prefix`` tokens are shared between all shares."""

    token_ids: tuple[int, ...]
    public_prefix: int = 0


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens counted and times measured for one request (seconds; ``None`` before the first token)."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0
    time_to_first_token_s: float | None = None
    total_s: float | None = None


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of output: whole Unicode characters only."""

    text: str
    token_ids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Finished:
    """The one terminal event of a request."""

    reason: FinishReason
    usage: Usage
    error: InferenceError | None = None


GenerationEvent = Delta | Finished


class Handle(Protocol):
    """A submitted request. Iterating yields :class:`Delta` values and ends after one :class:`Finished`.

    Closing either iterator early aborts the request; ``abort`` is idempotent and may come from any thread.
    """

    request_id: str

    def __iter__(self) -> Iterator[GenerationEvent]: ...

    def __aiter__(self) -> AsyncIterator[GenerationEvent]: ...

    def abort(self) -> None: ...

    def result(self, timeout_s: float | None = None) -> tuple[str, Finished]:
        """Waits for the end; returns the whole text and the terminal event. Raises ``TimeoutError``."""
        ...


class TextGenerator(Protocol):
    """The engine, in process or remote (:mod:`inference.engine.remote`)."""

    model_name: str
    max_model_len: int

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

    def count_tokens(self, text: str) -> int: ...

    def metrics(self) -> dict[str, float]:
        """Counters and gauges under vLLM's names, for instance ``num_requests_running``."""
        ...

    def stop(self) -> None: ...
