"""The difference of service between two shares that both wait is bounded, whatever they ask for.

Sheng et al., "Fairness in Serving Large Language Models" (OSDI 2024), theorem 4.4: over any time in which two tenants
both have requests waiting, their services W differ by at most 2 max(wp L, wq M); L is the longest prompt and M the most
tokens that the running requests can hold. With weights the services are divided by them, and the bound by the
smallest. The real queue, scheduler and block pool run here on a clock that a cost model moves; only the model is
missing. Service is counted apart from the scheduler's own counters: prompt tokens when first computed, output tokens
when delivered.
"""

from __future__ import annotations

import math
import random
from collections import Counter, defaultdict
from dataclasses import dataclass
from itertools import combinations

import pytest

from inference.kv_cache.manager import KVCacheManager
from inference.request import Priority, SamplingParams, Share
from inference.scheduling.fair_queue import OUTPUT_TOKEN_COST, PROMPT_TOKEN_COST, FairQueue
from inference.scheduling.scheduler import Scheduler, Step
from inference.scheduling.sequence import Sequence

SLOTS = 8
LONGEST_PROMPT, LONGEST_OUTPUT = 200, 60


@dataclass(frozen=True, slots=True)
class Tenant:
    """Keeps ``outstanding`` requests in the engine from ``start_s`` to ``stop_s``."""

    key: str
    prompts: tuple[int, int] = (20, LONGEST_PROMPT)
    outputs: tuple[int, int] = (1, LONGEST_OUTPUT)
    weight: float = 1.0
    outstanding: int = 3 * SLOTS
    start_s: float = 0.0
    stop_s: float = math.inf
    priority: Priority = Priority.INTERACTIVE


class Simulation:
    """Serves tenants until ``until_s`` of simulated time."""

    def __init__(
        self,
        *tenants: Tenant,
        blocks: int = 200,
        queue: FairQueue | None = None,
        seed: int = 0,
        prefixes: int = 0,
    ) -> None:
        """``prefixes``: each share asks about so many passages, which the prefix cache keeps; 0 is no cache."""
        self.tenants = tenants
        self.service: Counter[str] = Counter()
        self.gaps: dict[tuple[str, str], float] = {}
        """The widest range, within one time of both waiting, of the difference of weighted service of two shares."""
        self.now = 0.0
        self.kv = KVCacheManager(blocks, 16, prefix_caching=prefixes > 0)
        self.scheduler = Scheduler(self.kv, max_batched_tokens=128, max_running=SLOTS)
        if queue is not None:
            self.scheduler.waiting = queue
        self._prefixes = prefixes
        self._chance = random.Random(seed)
        self._outstanding: Counter[str] = Counter()
        self._seen: dict[Sequence, int] = defaultdict(int)
        self._range: dict[tuple[str, str], tuple[float, float]] = {}
        self._order = 0

    @property
    def bound(self) -> float:
        held = min(SLOTS * (LONGEST_PROMPT + LONGEST_OUTPUT), self.kv.pool.num_blocks * self.kv.block_size)
        largest = max(PROMPT_TOKEN_COST * LONGEST_PROMPT, OUTPUT_TOKEN_COST * held)
        return 2 * largest / min(tenant.weight for tenant in self.tenants)

    def run(self, until_s: float) -> None:
        while self.now < until_s:
            for tenant in self.tenants:
                if tenant.start_s <= self.now < tenant.stop_s:
                    while self._outstanding[tenant.key] < tenant.outstanding:
                        self._submit(tenant)
            step = self.scheduler.schedule()
            self._note_gaps()
            self.now += cost_s(step) if step else 0.01
            for sequence, count in step.items():
                self._book(sequence, count)
            self.scheduler.check_integrity()

    def _submit(self, tenant: Tenant) -> None:
        self._order += 1
        length = self._chance.randint(*tenant.prompts)
        self._outstanding[tenant.key] += 1
        own = length // 4 if self._prefixes else length
        passage = self._chance.randrange(self._prefixes) if self._prefixes else 0
        self.scheduler.add(
            Sequence(
                request_id=str(self._order),
                token_ids=[-1 - passage] * (length - own) + [self._order] * own,
                num_prompt=length,
                params=SamplingParams(max_tokens=self._chance.randint(*tenant.outputs)),
                share=Share(tenant.key, weight=tenant.weight, cache_salt=tenant.key.encode()),
                priority=tenant.priority,
                arrival=self.now,
                order=self._order,
            )
        )

    def _book(self, sequence: Sequence, count: int) -> None:
        key = sequence.share.key
        self.scheduler.record_computed(sequence, count)
        prompt = min(sequence.num_computed, sequence.num_prompt)
        first = max(self._seen[sequence], sequence.num_computed - count)
        self.service[key] += PROMPT_TOKEN_COST * max(0, prompt - first)  # type: ignore[assignment]
        self._seen[sequence] = max(prompt, self._seen[sequence])
        if sequence.num_uncomputed == 0:
            sequence.token_ids.append(0)
            self.service[key] += OUTPUT_TOKEN_COST  # type: ignore[assignment]
            if sequence.num_output == sequence.params.max_tokens:
                self.scheduler.finish(sequence)
                self._outstanding[key] -= 1
                del self._seen[sequence]

    def _note_gaps(self) -> None:
        waiting = {sequence.share.key for sequence in self.scheduler.waiting}
        for one, other in combinations(self.tenants, 2):
            pair = (one.key, other.key)
            if one.priority != other.priority or not waiting.issuperset(pair):
                self._range.pop(pair, None)
                continue
            apart = self.service[one.key] / one.weight - self.service[other.key] / other.weight
            low, high = self._range.get(pair, (apart, apart))
            self._range[pair] = low, high = min(low, apart), max(high, apart)
            self.gaps[pair] = max(self.gaps.get(pair, 0.0), high - low)


def cost_s(step: Step) -> float:
    """Seconds of a step: a start, the tokens, and the contexts that attention reads."""
    contexts = sum(sequence.num_computed for sequence in step)
    return 0.004 + sum(step.values()) / 2000 + contexts * 1e-6


def assert_fair(simulation: Simulation) -> None:
    assert simulation.gaps, "no two shares ever waited together"
    total = sum(simulation.service.values())
    assert total > 5 * simulation.bound, "too short to tell"
    worst = max(simulation.gaps.values())
    assert worst <= simulation.bound, f"{simulation.gaps} of {simulation.bound}"


SHORT_IN_LONG_OUT = Tenant("writer", prompts=(4, 12), outputs=(50, 60))
LONG_IN_SHORT_OUT = Tenant("reader", prompts=(150, 200), outputs=(1, 4))
SHORT_AND_SHORT = Tenant("caller", prompts=(2, 6), outputs=(1, 2))


@pytest.mark.parametrize("blocks", [200, 40], ids=["room for all", "preemptions"])
def test_shares_of_different_shapes_get_the_same_service(blocks: int) -> None:
    simulation = Simulation(SHORT_IN_LONG_OUT, LONG_IN_SHORT_OUT, SHORT_AND_SHORT, blocks=blocks)
    simulation.run(120)
    assert simulation.scheduler.num_preemptions > 0 or blocks > 40
    assert_fair(simulation)


def test_prefix_hits_and_overtaking_within_a_share_keep_the_bound() -> None:
    simulation = Simulation(LONG_IN_SHORT_OUT, Tenant("one"), Tenant("other"), blocks=400, prefixes=4)
    simulation.run(300)
    assert simulation.scheduler.prefix_hits > simulation.scheduler.prefix_queries / 4
    assert_fair(simulation)


def test_shares_that_both_keep_the_engine_busy_undo_no_work_of_each_other() -> None:
    simulation = Simulation(Tenant("one"), Tenant("other"))
    simulation.run(60)
    assert simulation.scheduler.num_preemptions == 0
    assert_fair(simulation)


def test_service_follows_the_weights() -> None:
    simulation = Simulation(Tenant("light"), Tenant("heavy", weight=3.0), Tenant("middle", weight=1.5))
    simulation.run(200)
    assert_fair(simulation)
    assert simulation.service["heavy"] / simulation.service["light"] == pytest.approx(3, rel=0.1)


def test_who_comes_late_gets_neither_credit_nor_debt() -> None:
    simulation = Simulation(Tenant("early"), Tenant("late", start_s=60), Tenant("later", start_s=90))
    simulation.run(180)
    assert_fair(simulation)


def test_a_trickle_that_never_waits_lends_no_credit_to_others() -> None:
    """One request after the other, overlapping: the share is always active, and never a measure for newcomers."""
    trickle = Tenant("trickle", prompts=(4, 8), outputs=(50, 60), outstanding=1)
    overlapping = Tenant("trickle too", prompts=(4, 8), outputs=(50, 60), outstanding=1, start_s=0.5)
    simulation = Simulation(trickle, overlapping, Tenant("early"), Tenant("late", start_s=60))
    simulation.run(150)
    assert_fair(simulation)


def test_a_trickle_that_becomes_a_flood_has_saved_up_nothing() -> None:
    gentle = Tenant("both", prompts=(4, 8), outputs=(50, 60), outstanding=2, stop_s=60)
    flood = Tenant("both", outstanding=3 * SLOTS, start_s=60)
    simulation = Simulation(gentle, Tenant("early"))
    simulation.run(60)
    simulation.tenants = (flood, simulation.tenants[1])
    simulation.run(120)
    assert_fair(simulation)


def test_the_past_is_forgotten_when_everybody_was_idle() -> None:
    simulation = Simulation(Tenant("veteran", stop_s=50))
    simulation.run(60)
    assert not simulation.scheduler.running
    simulation.tenants = (Tenant("new"), Tenant("veteran"))  # the newcomer is the first that comes
    simulation.run(120)
    assert_fair(simulation)


def test_a_backlog_of_batch_work_lends_no_credit_to_interactive_newcomers() -> None:
    backlog = Tenant("backlog", priority=Priority.BATCH)
    simulation = Simulation(backlog, Tenant("early"), Tenant("late", start_s=60))
    simulation.run(150)
    assert_fair(simulation)


@pytest.mark.parametrize("seed", range(6))
def test_random_tenants_stay_within_the_bound(seed: int) -> None:
    chance = random.Random(seed)
    tenants = []
    for number in range(chance.randint(2, 5)):
        shortest, least = chance.randint(2, 150), chance.randint(1, 50)
        tenants.append(
            Tenant(
                f"tenant {number}",
                prompts=(shortest, chance.randint(shortest, LONGEST_PROMPT)),
                outputs=(least, chance.randint(least, LONGEST_OUTPUT)),
                weight=chance.choice([0.5, 1.0, 1.0, 2.0]),
                outstanding=chance.choice([1, 3, SLOTS, 3 * SLOTS, 3 * SLOTS]),
                start_s=chance.choice([0, 0, 20, 50]),
                stop_s=chance.choice([math.inf, math.inf, 100]),
            )
        )
    tenants += [Tenant("first"), Tenant("second", start_s=chance.randint(0, 60))]
    simulation = Simulation(*tenants, blocks=chance.choice([40, 200]), seed=seed)
    simulation.run(200)
    assert_fair(simulation)


class FirstCome(FairQueue):
    """Counts nothing, so that the order of arrival decides."""

    def charge(self, sequence: Sequence, *, prompt_tokens: int = 0, output_tokens: int = 0) -> None:
        pass


def test_first_come_breaks_the_bound() -> None:
    """The control: what is asserted above does not hold by itself."""
    simulation = Simulation(SHORT_IN_LONG_OUT, LONG_IN_SHORT_OUT, queue=FirstCome())
    simulation.run(120)
    assert simulation.gaps["writer", "reader"] > 2 * simulation.bound
