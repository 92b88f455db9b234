"""Prompts under way: at least two at once, admitted whole and above a watermark, and preempted a bounded number of times."""

from __future__ import annotations

import pytest

from inference.kv_cache.manager import KVCacheManager
from inference.request import Priority, SamplingParams, Share
from inference.scheduling.scheduler import MAX_PREEMPTIONS, Scheduler
from inference.scheduling.sequence import Sequence

BLOCK = 16


def make(budget: int, *, blocks: int = 200, alignment: int = 1) -> Scheduler:
    return Scheduler(
        KVCacheManager(blocks, BLOCK, prefix_caching=False, alignment=alignment),
        max_batched_tokens=budget,
        max_running=4,
        alignment=alignment,
    )


def add(
    scheduler: Scheduler, name: str, length: int, share: str = "acme", priority: Priority = Priority.API
) -> Sequence:
    sequence = Sequence(
        request_id=name,
        token_ids=[0] * length,
        num_prompt=length,
        params=SamplingParams(max_tokens=500),
        share=Share(share),
        priority=priority,
        arrival=0.0,
        order=len(scheduler.running) + len(scheduler.waiting) + 1,
    )
    scheduler.add(sequence)
    return sequence


def step(scheduler: Scheduler) -> dict[str, int]:
    scheduled = scheduler.schedule()
    for sequence, count in scheduled.items():
        scheduler.record_computed(sequence, count)
        if sequence.num_uncomputed == 0:
            sequence.token_ids.append(0)
    scheduler.check_integrity()
    return {sequence.request_id: count for sequence, count in scheduled.items()}


@pytest.mark.parametrize("alignment", [1, 64])
def test_a_shorter_prompt_is_computed_beside_a_long_one(alignment: int) -> None:
    scheduler = make(512, alignment=alignment)
    add(scheduler, "long", 2000)
    assert step(scheduler) == {"long": 512}
    add(scheduler, "short", 400)
    assert step(scheduler) == {"long": 256, "short": 256}
    assert step(scheduler) == {"long": 320 if alignment > 1 else 368, "short": 144}


def test_two_partial_prompts_may_both_be_running_already() -> None:
    scheduler = make(100)
    long, short = add(scheduler, "long", 1000), add(scheduler, "short", 300)
    step(scheduler)
    assert step(scheduler) == {"long": 50, "short": 50}
    add(scheduler, "shorter", 120)
    assert step(scheduler) == {"long": 50, "short": 25, "shorter": 25}
    assert 0 < short.num_computed < 300
    assert 0 < long.num_computed < 1000


def test_a_flood_takes_nothing_from_the_only_prompt_of_another_share() -> None:
    scheduler = make(512)
    for number in range(3):
        add(scheduler, f"flood {number}", 200)
    assert step(scheduler) == {"flood 0": 200, "flood 1": 200, "flood 2": 112}
    add(scheduler, "only", 1400, share="globex")
    decodes = {"flood 0": 1, "flood 1": 1}
    assert step(scheduler) == {**decodes, "only": 510}
    assert step(scheduler) == {**decodes, "only": 510}, "although those of the flood are shorter"
    assert step(scheduler) == {**decodes, "only": 380, "flood 2": 88}


def test_the_only_prompts_of_two_shares_go_side_by_side() -> None:
    scheduler = make(512)
    add(scheduler, "long", 2000)
    step(scheduler)
    add(scheduler, "short", 400, share="globex")
    assert step(scheduler) == {"long": 256, "short": 256}


def test_equals_go_one_after_the_other() -> None:
    scheduler = make(512)
    add(scheduler, "one", 1000)
    add(scheduler, "other", 1000)
    assert step(scheduler) == {"one": 512}
    assert step(scheduler) == {"one": 488, "other": 24}


def test_lower_classes_take_nothing_from_a_prompt() -> None:
    scheduler = make(512)
    add(scheduler, "long", 2000, priority=Priority.INTERACTIVE)
    step(scheduler)
    add(scheduler, "batch", 100, priority=Priority.BATCH)
    assert step(scheduler) == {"long": 512}


def test_a_prompt_is_admitted_whole_and_leaves_a_block_for_each_that_runs() -> None:
    scheduler = make(1000, blocks=10)
    add(scheduler, "one", 3 * BLOCK)
    add(scheduler, "two", 3 * BLOCK)
    step(scheduler)
    add(scheduler, "three", 2 * BLOCK + 1)
    assert "three" not in step(scheduler), "3 of 2 blocks that are free"
    scheduler.finish(scheduler.running[1])
    first = step(scheduler)
    assert first["three"] == 2 * BLOCK + 1, "as a whole, with a block to spare"


def test_a_request_that_was_preempted_often_is_spared() -> None:
    """An old request keeps losing its blocks to a younger one only until it has lost them often enough."""
    scheduler = make(1000, blocks=12)
    young_counts, spared = [], add(scheduler, "batch", 40, priority=Priority.BATCH)
    for number in range(4 * MAX_PREEMPTIONS):
        for _ in range(3):
            step(scheduler)
        urgent = add(scheduler, f"urgent {number}", 150, priority=Priority.INTERACTIVE)
        step(scheduler)
        young_counts.append(spared.num_preemptions)
        scheduler.finish(urgent)
    assert spared.num_preemptions == MAX_PREEMPTIONS
    assert young_counts[:MAX_PREEMPTIONS] == list(range(1, MAX_PREEMPTIONS + 1)), "it does yield at first"


def test_a_decode_without_a_block_takes_none_from_who_was_preempted_often() -> None:
    scheduler = make(1000, blocks=5)
    old, young = add(scheduler, "old", 20), add(scheduler, "young", 20)
    young.num_preemptions = MAX_PREEMPTIONS
    while scheduler.num_preemptions == 0:
        step(scheduler)
    assert scheduler.running == [young], "the youngest would have gone first"
    assert list(scheduler.waiting) == [old]
