"""The engine's own view of one request: its tokens and how far they are computed.

Only the engine's thread touches a sequence. ``token_ids`` is the prompt followed by every sampled token;
``num_computed`` counts the leading tokens whose keys and values lie in the KV cache."""

from __future__ import annotations

from dataclasses import dataclass, field

from inference.request import Priority, SamplingParams, Share, Usage
from inference.sampling.prompt_lookup import PromptLookup


@dataclass(slots=True, eq=False)
class Sequence:
    """Times are of the engine's monotonic clock, in seconds. ``in_gate``: the bounded queue counts it; ``seed``: of
    its chance."""

    request_id: str
    token_ids: list[int]
    num_prompt: int
    params: SamplingParams
    share: Share
    priority: Priority
    arrival: float
    order: int
    seed: int = 0
    public_prefix: int = 0
    deadline: float | None = None
    in_gate: bool = False
    headed_at: float = -1.0
    """When it first stood at the head of its share's queue in its present class; below 0 means not yet."""
    num_computed: int = 0
    num_registered: int = 0
    num_charged: int = 0
    num_cached: int = 0
    num_preemptions: int = 0
    num_overtaken: int = 0
    num_found: int = 0
    """Leading blocks that the prefix cache had when it was last asked."""
    admitted_at: float = 0.0
    first_token_at: float | None = None
    last_token_at: float = 0.0
    block_table: list[int] = field(default_factory=list)
    block_hashes: list[bytes] = field(default_factory=list)
    draft: list[int] = field(default_factory=list)
    """Guesses at the tokens after ``token_ids``, computed in the present step and dropped with it."""
    lookup: PromptLookup = field(default_factory=PromptLookup)

    @property
    def num_tokens(self) -> int:
        return len(self.token_ids)

    @property
    def num_output(self) -> int:
        return len(self.token_ids) - self.num_prompt

    @property
    def num_uncomputed(self) -> int:
        """1 while decoding, more while the prompt (or, after a preemption, everything) is being computed."""
        return len(self.token_ids) - self.num_computed

    @property
    def queue_tokens(self) -> int:
        """What the sequence counts for in the bounded queue."""
        return self.num_prompt + self.params.max_tokens

    def usage(self, now: float) -> Usage:
        """What was used until ``now``."""
        first = self.first_token_at
        return Usage(
            prompt_tokens=self.num_prompt,
            completion_tokens=self.num_output,
            cached_tokens=self.num_cached,
            time_to_first_token_s=None if first is None else first - self.arrival,
            total_s=now - self.arrival,
        )
