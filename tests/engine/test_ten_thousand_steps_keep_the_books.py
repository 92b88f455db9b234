"""10,000 random submits, aborts, preemptions, deadlines and failures: the books hold after each, and no output is another's.

The model is a ledger: it writes each token into its slot of the KV cache and answers with a checksum of what it reads
there through the block table. So an output is right only if every block held what it should, all the time.
"""

from __future__ import annotations

import random
import zlib
from array import array
from collections.abc import Sequence

import pytest
import torch

from inference.attention.base import Segment
from inference.engine.engine import Engine
from inference.engine.handle import RequestHandle
from inference.errors import DeadlineExceeded, InferenceError, Overloaded
from inference.request import Delta, Finished, Priority, PromptTokens, Share
from tests.engine.tiny import EOS, VOCAB, TinyCheckpoint, drive, greedy, make_config

BLOCK, BLOCKS = 16, 24
POISON = 197
"""A prompt that begins with it can never be computed."""


def next_token(context: Sequence[int]) -> int:
    return zlib.crc32(array("H", context).tobytes()) % EOS


class Ledger:
    """In the place of a model. ``chance``: that a call fails, as for want of memory, after half of its work."""

    alignment = 1
    kv_cache_bytes = 0
    exact = False
    kv_cache_bytes = 0

    def __init__(self, chance: random.Random) -> None:
        self.failures = 0
        self._chance = chance
        self._slots = [0] * (BLOCK * BLOCKS)

    def forward(
        self, token_ids: Sequence[int], rows: Sequence[int], segments: Sequence[Segment]
    ) -> torch.Tensor:
        fails = self._chance.random() < 0.03
        places: list[tuple[Segment, int]] = []
        for segment in segments:
            for position in range(segment.start, segment.end):
                self._slots[self._slot(segment, position)] = token_ids[len(places)]
                places.append((segment, position))
            if fails or self._slots[self._slot(segment, 0)] == POISON:
                self.failures += 1
                raise MemoryError("no memory for a step")
        logits = torch.zeros(len(rows), VOCAB)
        for index, row in enumerate(rows):
            segment, last = places[row]
            context = [self._slots[self._slot(segment, position)] for position in range(last + 1)]
            logits[index, next_token(context)] = 1.0
        return logits

    def _slot(self, segment: Segment, position: int) -> int:
        return segment.block_table[position // BLOCK] * BLOCK + position % BLOCK


class Traffic:
    """What was sent and what came back."""

    def __init__(self, llama: TinyCheckpoint, seed: int) -> None:
        self.now = 0.0
        self.chance = random.Random(seed)
        limits = {"kv_cache_tokens": BLOCK * BLOCKS, "max_batched_tokens": 64, "max_running_requests": 6}
        self.engine = Engine(make_config(**limits, max_queued_requests=16), llama, clock=lambda: self.now)
        self.ledger = Ledger(self.chance)
        self.engine._runner._model = self.ledger
        self.system = tuple(self.chance.randrange(POISON) for _ in range(40))
        self.sent: list[tuple[RequestHandle, PromptTokens, int]] = []
        self.refused = self.preempted = 0

    def act(self) -> None:
        """One of the things that can happen between two steps."""
        self.now += 0.01
        dice = self.chance.random()
        if dice < 0.4:
            self._submit()
        elif dice < 0.47 and self.sent:
            self.chance.choice(self.sent[-12:])[0].abort()
        elif dice < 0.5 and self.engine._scheduler.running:
            self.engine._scheduler.preempt(self.chance.choice(self.engine._scheduler.running))
            self.preempted += 1

    def _submit(self) -> None:
        chance = self.chance
        body = tuple(chance.randrange(POISON) for _ in range(chance.choice((1, 5, 30, 100))))
        kind = chance.random()
        poisoned = (POISON, *body)
        prompt = PromptTokens(poisoned) if kind < 0.05 else PromptTokens(self.system + body, 40)
        key = chance.choice(("acme", "globex", "initech"))
        max_tokens = chance.randrange(1, 40)
        try:
            handle = self.engine.submit(
                prompt,
                greedy(max_tokens),
                share=Share(key, weight=chance.choice((0.5, 1.0, 4.0)), cache_salt=key.encode()),
                priority=chance.choice(list(Priority)),
                deadline_s=chance.choice((None, None, None, 0.3)),
            )
        except (Overloaded, DeadlineExceeded):
            self.refused += 1
        else:
            self.sent.append((handle, prompt, max_tokens))


def outputs(prompt: PromptTokens, count: int) -> list[int]:
    context = list(prompt.token_ids)
    for _ in range(count):
        context.append(next_token(context))
    return context[len(prompt.token_ids) :]


@pytest.mark.parametrize("seed", [1, 2])
def test_ten_thousand_random_steps(llama: TinyCheckpoint, seed: int) -> None:
    traffic = Traffic(llama, seed)
    for _ in range(5_000):
        traffic.act()
        traffic.engine.check_integrity()
        traffic.engine.step()
        traffic.engine.check_integrity()
    drive(traffic.engine)

    reasons = set()
    for handle, prompt, max_tokens in traffic.sent:
        *deltas, end = list(handle)
        assert isinstance(end, Finished)
        tokens = [token for event in deltas if isinstance(event, Delta) for token in event.token_ids]
        assert tokens == outputs(prompt, len(tokens)), "the output is not that of this prompt"
        assert (end.reason == "length") == (len(tokens) == max_tokens)
        reasons.add(type(end.error) if end.reason == "error" else end.reason)
        if prompt.token_ids[0] == POISON:
            assert end.reason != "length"
    assert reasons == {"length", "aborted", DeadlineExceeded, InferenceError}
    assert min(traffic.refused, traffic.preempted, traffic.ledger.failures) > 20
    metrics = traffic.engine.metrics()
    assert metrics["num_preemptions_total"] > traffic.preempted, "nobody was preempted for want of blocks"
    assert metrics["prefix_cache_hits"] > 0
    assert metrics["e2e_request_latency_seconds_count"] == len(traffic.sent) > 1_000
    assert metrics["kv_cache_usage_perc"] == metrics["queued_tokens"] == 0
