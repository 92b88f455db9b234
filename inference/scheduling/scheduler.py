"""Decides what the next step computes.

A step is ``{sequence: number of tokens}`` under one token budget; there is no prefill phase and no decode
phase. What always holds after :meth:`Scheduler.schedule`:

- every running sequence that has only its newest token to compute is in the step (decode first), unless it
  was preempted for want of a KV block;
- the rest of the budget goes to running prompts and then to waiting requests, by priority class and fairly by
  share; a prompt leaves half of it to a shorter one;
- decoding sequences may guess ahead with budget and blocks that nobody else asked for in this step;
- a running sequence holds blocks for all its tokens, so that a prompt, once begun, is never stuck half way;
- a preempted request is always displaced by one that runs, so that every step with work in it advances.

A preempted sequence gives all its blocks back and waits, with its tokens; when it runs again they are
computed anew."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from inference.errors import InvalidRequest
from inference.kv_cache.manager import KVCacheManager
from inference.scheduling.fair_queue import FairQueue
from inference.scheduling.sequence import Sequence

Step = dict[Sequence, int]
"""How many tokens of each sequence to compute, from its position ``num_computed`` on."""


MAX_PREEMPTIONS = 4
"""A request that was preempted so often keeps its blocks while another can give some."""
WORTH_WAITING = 32
"""So many tokens of a prompt that another computes in the present step are worth to wait for the next."""


class Scheduler:
    """Holds waiting and running sequences. ``alignment``: prompt chunks that do not end their prompt end at a
    multiple of so many tokens, so that how a prompt is cut does not depend on its neighbours. ``speculation``: up to
    so many decoding sequences draft tokens."""

    def __init__(
        self,
        kv: KVCacheManager,
        *,
        max_batched_tokens: int,
        max_running: int,
        alignment: int = 1,
        speculation: int = 0,
    ) -> None:
        if max_batched_tokens < max_running + alignment - 1:
            raise InvalidRequest(
                f"max_batched_tokens must be at least {max_running + alignment - 1}: one token for each "
                f"running request and one prompt chunk of {alignment}."
            )
        self.kv = kv
        self.waiting = FairQueue(lead=max_batched_tokens)
        self.running: list[Sequence] = []
        self.num_preemptions = 0
        self.prefix_queries = 0
        self.prefix_hits = 0
        self._max_batched_tokens = max_batched_tokens
        self._max_running = max_running
        self._alignment = alignment
        self._speculation = speculation

    def add(self, sequence: Sequence) -> None:
        self.waiting.add(sequence)

    def finish(self, sequence: Sequence) -> None:
        """Takes a sequence out, waiting or running, and frees its blocks."""
        if not self.waiting.finish(sequence):
            self.running.remove(sequence)
        self.kv.release(sequence)

    def schedule(self, now: float = 0.0) -> Step:
        """The next step, decodes first; empty when there is nothing to do. ``now``: the engine's clock, s."""
        self.waiting.age(now)
        step: Step = {}
        told: set[Sequence] = set()
        self._schedule_decodes(step)
        prompts = sorted((item for item in self.running if item.num_uncomputed > 1), key=self._rank)
        for index, sequence in enumerate(prompts):
            self._admit_waiting(step, told, before=sequence)
            if sequence.block_table:
                self._schedule_prompt(step, sequence, halved=self._must_share(sequence, prompts[index + 1 :]))
        self._admit_waiting(step, told)
        for sequence in prompts:
            if sequence.block_table:
                self._schedule_prompt(step, sequence)
        self._schedule_drafts(step)
        return step

    def record_computed(self, sequence: Sequence, count: int) -> None:
        """Books ``count`` tokens whose keys and values are now in the cache; charges the share for first-time
        work."""
        sequence.num_computed += count
        self.kv.register_computed(sequence)
        first, end = max(sequence.num_charged, sequence.num_computed - count), sequence.num_computed
        if end > first:
            # The last prompt token brings the first output token, and the last output token is never computed.
            prompt, last_prompt = sequence.num_prompt, sequence.num_prompt - 1
            self.waiting.charge(
                sequence,
                prompt_tokens=max(0, min(end, prompt) - first),
                output_tokens=max(0, end - max(first, last_prompt)),
            )
            sequence.num_charged = end

    def record_drafted(self, sequence: Sequence, accepted: int) -> None:
        """Books how many of the drafted tokens were right, after they were appended; the others leave no trace."""
        if sequence.draft:
            sequence.lookup.record(len(sequence.draft), accepted)
            sequence.draft = []
            self.kv.trim(sequence)

    def preempt(self, sequence: Sequence) -> None:
        """Sends a running sequence back to the front of its share's queue."""
        self.running.remove(sequence)
        self.kv.release(sequence)
        sequence.num_preemptions += 1
        self.num_preemptions += 1
        self.waiting.push(sequence, front=True)

    def check_integrity(self) -> None:
        """Raises ``RuntimeError`` unless blocks and sequences agree."""
        self.kv.check_integrity(self.running)
        for sequence in self.waiting:
            if sequence.block_table or sequence.num_computed:
                raise RuntimeError(f"waiting request {sequence.request_id} holds blocks")
        for sequence in self.running:
            if len(sequence.block_table) * self.kv.block_size < sequence.num_computed:
                raise RuntimeError(f"request {sequence.request_id} computed more than it has blocks for")

    def _rank(self, sequence: Sequence) -> tuple[int, bool, float, int]:
        """Prompts of a share with nothing else running go first in their class: somebody waits for each of them,
        and a prompt that was admitted in its turn is not held up by those of a flood."""
        others = self._has_others(sequence)
        return sequence.priority, others, self.waiting.counter(sequence), sequence.order

    def _has_others(self, sequence: Sequence) -> bool:
        key = sequence.share.key
        return any(item.share.key == key and item is not sequence for item in self.running)

    def _schedule_decodes(self, step: Step) -> None:
        for sequence in sorted(self.running, key=lambda item: (item.priority, item.order)):
            if sequence.num_uncomputed != 1 or sequence not in self.running:
                continue
            while not self.kv.grow(sequence):
                victim = max(self.running, key=_preemptible)
                self.preempt(victim)
                step.pop(victim, None)  # an older one may have its place already
                if victim is sequence:
                    break
            else:
                step[sequence] = 1

    def _must_share(self, sequence: Sequence, others: list[Sequence]) -> bool:
        """Whether a running prompt must leave budget to a shorter one, running or next in the queue. For a share's only
        running request somebody waits: it is not held up by the many of another."""
        key, sole = sequence.share.key, not self._has_others(sequence)
        head = self.waiting.head(self.kv.find)
        return any(
            item.priority <= sequence.priority
            and item.num_tokens - self._ready(item) < sequence.num_uncomputed
            and not (sole and item.share.key != key and self._has_others(item))
            for item in (*others, *([head] if head else []))
        )

    def _ready(self, sequence: Sequence) -> int:
        """How many tokens need no computing: those that were computed, or that are cached for a waiting request."""
        return sequence.num_computed or self.kv.find(sequence) * self.kv.block_size

    def _schedule_prompt(self, step: Step, sequence: Sequence, *, halved: bool = False) -> None:
        """Adds the next chunk of a running prompt, or makes it larger, if the budget left allows one."""
        left = self._budget_left(step) + step.get(sequence, 0)
        count = min(sequence.num_uncomputed, max(left // 2, self._alignment) if halved else left)
        if count < sequence.num_uncomputed:
            end = (sequence.num_computed + count) // self._alignment * self._alignment
            count = end - sequence.num_computed
        if count > 0:
            step[sequence] = count

    def _schedule_drafts(self, step: Step) -> None:
        """Adds drafted tokens to decodes while they are few: beyond that a row costs more than a guess is worth."""
        decodes = [sequence for sequence in step if sequence.num_uncomputed == 1]
        if len(decodes) > self._speculation:
            return
        for sequence in decodes:
            most = min(self._budget_left(step), sequence.params.max_tokens - sequence.num_output - 1)
            draft = sequence.lookup.propose(sequence.token_ids, most)
            if draft and self.kv.grow(sequence, beyond=len(draft)):
                sequence.draft = draft
                step[sequence] += len(draft)

    def _admit_waiting(self, step: Step, told: set[Sequence], before: Sequence | None = None) -> None:
        """Begins waiting prompts; with ``before``, only those of shares with nothing running that go before it."""
        while self._budget_left(step) > 0:
            sequence = self.waiting.head(self._hits(step, told))
            if sequence is None:
                break
            if before and (self._has_others(sequence) or self._rank(sequence) > self._rank(before)):
                break
            if not self._make_room(step, sequence):
                break
            self.waiting.take(sequence)
            self.running.append(sequence)
            if sequence.num_preemptions == 0:
                self.prefix_queries += sequence.num_tokens
                self.prefix_hits += sequence.num_computed
                sequence.num_cached = sequence.num_computed
            self._schedule_prompt(step, sequence)

    def _hits(self, step: Step, told: set[Sequence]) -> Callable[[Sequence], int]:
        """How many blocks of a waiting sequence are cached; -1, noted in ``told``, for one that had better wait until
        the next step, since this one computes more of its prefix for another."""
        size, enough = self.kv.block_size, self.kv.blocks_for(max(WORTH_WAITING, self.kv.alignment))
        coming: set[bytes] = set()
        for item, count in step.items():
            coming.update(item.block_hashes[item.num_computed // size : (item.num_computed + count) // size])

        def hit(sequence: Sequence) -> int:
            found = self.kv.find(sequence)
            worth = sequence.block_hashes[found : found + enough]
            if len(worth) < enough or not coming.issuperset(worth):
                return found
            if sequence not in told:
                told.add(sequence)
                sequence.num_overtaken += 1
            return -1

        return hit

    def _budget_left(self, step: Step) -> int:
        return self._max_batched_tokens - sum(step.values())

    def _make_room(self, step: Step, sequence: Sequence) -> bool:
        """Gives ``sequence`` a slot and blocks, preempting requests that hold more than is theirs."""
        while True:
            slot = len(self.running) < self._max_running
            if slot and self.kv.admit(sequence, spare_blocks=len(self.running)):
                return True
            victim = self._overdrawn(sequence, by_blocks=slot)
            if victim is None:
                return False
            self.preempt(victim)
            step.pop(victim, None)

    def _overdrawn(self, sequence: Sequence, *, by_blocks: bool) -> Sequence | None:
        """Whom to preempt for a waiting sequence, but none that was preempted too often: the youngest of a lower
        class, else, for a share with nothing running that would stay within its fair part of slots (or blocks), the youngest of one beyond its own.
        Shares that all have requests running take turns by their counters, which costs no work done twice."""
        movable = [item for item in self.running if item.num_preemptions < MAX_PREEMPTIONS]
        lower = [item for item in movable if item.priority > sequence.priority]
        if lower:
            return max(lower, key=_preemptible)
        held: Counter[str] = Counter()
        for item in self.running:
            held[item.share.key] += len(item.block_table) if by_blocks else 1
        weights = self.waiting.active_weights
        total = self.kv.pool.num_blocks if by_blocks else self._max_running
        fair = {key: total * weight / sum(weights.values()) for key, weight in weights.items()}
        need = self.kv.blocks_for(sequence.num_tokens) if by_blocks else 1
        if held[sequence.share.key] or need > fair[sequence.share.key]:
            return None
        beyond = [
            item
            for item in movable
            if item.priority == sequence.priority and held[item.share.key] > fair[item.share.key]
        ]
        return max(beyond, key=lambda item: item.order, default=None)


def _preemptible(sequence: Sequence) -> tuple[bool, int, int]:
    """The largest goes first: not too often yet, of the lowest class, the youngest."""
    return (sequence.num_preemptions < MAX_PREEMPTIONS, sequence.priority, sequence.order)
