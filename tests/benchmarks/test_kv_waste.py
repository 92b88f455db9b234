"""The allocators of the simulation keep their books, and waste is counted per physical slot."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from benchmarks import kv_waste
from benchmarks.engine.workloads import Request
from benchmarks.kv_waste import RESERVED, Buddy, Lengths
from inference.engine.engine import Engine
from tests.engine.tiny import TinyCheckpoint, make_config


def test_a_buddy_allocator_hands_out_disjoint_regions_and_joins_them_again() -> None:
    slots = 15_700
    buddy, chance = Buddy(slots), random.Random(0)
    held: list[tuple[int, int]] = []
    refused = 0
    for _ in range(2000):
        if held and chance.random() < 0.45:
            buddy.give_back(held.pop(chance.randrange(len(held))))
        elif (region := buddy.take(chance.randint(1, 2048))) is None:
            refused += 1
        else:
            held.append(region)
        taken = sorted((start, start + (1 << order)) for start, order in held)
        assert all(end <= start for (_, end), (start, _) in pairwise(taken))
        assert not taken or taken[-1][1] <= slots
        free = sum(len(starts) << order for order, starts in buddy._free.items())
        assert free + sum(1 << order for _, order in held) == slots
    assert refused > 0
    for region in held:
        buddy.give_back(region)
    fresh = {order: starts for order, starts in Buddy(slots)._free.items() if starts}
    assert {order: starts for order, starts in buddy._free.items() if starts} == fresh


def test_the_paper_reserves_so() -> None:
    request = Lengths(prompt=100, output=25)
    assert {name: reserve(request) for name, reserve in RESERVED.items()} == {
        "max": 2048,
        "power of two": 132,
        "oracle": 125,
    }


def test_what_reserving_wastes_can_be_counted_by_hand() -> None:
    """One region of 4 for requests of 1 in, 2 out: steps with 1 and 2 tokens held, in turn, the first one more often."""
    row = kv_waste.reserving([Lengths(1, 2)] * 40, 4, RESERVED["oracle"])
    assert row == pytest.approx({"useful": 37.5, "later": 37.5, "internal": 0, "external": 25}, abs=0.4)


def test_the_order_of_the_paper_comes_out() -> None:
    rows = kv_waste.simulate(300, slots=15_700, block_size=16, prompt_mean=161, output_mean=338)
    useful = [rows[name]["useful"] for name in ("max", "power of two", "oracle", "paged")]
    assert useful == sorted(useful)
    assert useful[0] < 30
    assert useful[-1] > 90
    parts = ("useful", "later", "internal", "external")
    assert all(abs(sum(row[part] for part in parts) - 100) < 0.3 for row in rows.values())
    assert max(r.prompt + r.output for r in kv_waste.draw(3000, prompt_mean=161, output_mean=338)) <= 2048


def test_shared_blocks_count_once_and_empty_slots_are_waste(llama: TinyCheckpoint) -> None:
    engine = Engine(make_config(max_running_requests=2), llama)
    prompt = list(range(40))
    request = Request(prompt, 3)
    alone = kv_waste.measure(engine, [request])
    # After each of the first two steps: 40 and 41 of 48 slots; the third ends the request.
    assert alone["allocated_and_filled_slots_over_time"] == [(48, 40), (48, 41)]
    assert alone["waste_percent"] == round(100 * (1 - 81 / 96), 2)
    both = kv_waste.measure(engine, [request, request])
    # The first two blocks are found in the cache and shared: 32 once, twice 8 of 16.
    assert both["allocated_and_filled_slots_over_time"][0] == (64, 48)
