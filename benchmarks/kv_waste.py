"""How much of the memory for keys and values holds any: figure 2 of the vLLM paper, and our own engine.

``python -m benchmarks.kv_waste [--requests N] [--no-engine]``

First a simulation of allocators under more requests than fit (Kwon et al., "Efficient Memory Management for Large
Language Model Serving with PagedAttention", SOSP 2023, figure 2 and section 6.1: OPT-13B, 15,700 slots, at most 2,048
tokens a request). Three reserve one contiguous region up front from a buddy allocator: ``max`` the longest request,
``power of two`` the prompt and the next power of two of the output, ``oracle`` the prompt and the output. ``paged`` is
our own scheduler and block pool. The paper's trace of ShareGPT is not at hand, so lengths are exponential with the
means that it states (161 in, 338 out), cut at 2,048 together. An exponential has no parameter beside its mean:
nothing is fitted to the figure, so the numbers agree in size and order, not to the point.

Then our engine runs W2 and W4, and after every step each block in use is looked into: its slots without keys and values
are waste. Blocks shared by several requests count once; cached blocks that nobody holds can be reused and count as
free. Nothing here depends on the machine's speed.
"""

from __future__ import annotations

import argparse
import json
import random
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from benchmarks.engine import workloads
from benchmarks.report import config, keep
from inference.engine.engine import Engine
from inference.kv_cache.manager import KVCacheManager
from inference.request import Priority, PromptTokens, SamplingParams, Share
from inference.scheduling.scheduler import Scheduler
from inference.scheduling.sequence import Sequence

PAPER = {"max": 20.4, "power of two": 26.8, "oracle": 38.2, "paged": 96.3}
"""Percent of the memory that holds keys and values, figure 2 of the paper."""
LONGEST = 2048


@dataclass(frozen=True, slots=True)
class Lengths:
    """Tokens of one request."""

    prompt: int
    output: int


def draw(count: int, *, prompt_mean: float, output_mean: float, seed: int = 0) -> list[Lengths]:
    """Exponential lengths of at least one token, drawn again when prompt and output exceed ``LONGEST``."""
    chance = random.Random(seed)
    drawn: list[Lengths] = []
    while len(drawn) < count:
        prompt = max(1, round(chance.expovariate(1 / prompt_mean)))
        output = max(1, round(chance.expovariate(1 / output_mean)))
        if prompt + output <= LONGEST:
            drawn.append(Lengths(prompt, output))
    return drawn


class Buddy:
    """A buddy allocator over ``slots``, which it takes as regions of falling powers of two."""

    def __init__(self, slots: int) -> None:
        self._free: defaultdict[int, set[int]] = defaultdict(set)
        start = 0
        for order in reversed(range(slots.bit_length())):
            if slots & (1 << order):
                self._free[order].add(start)
                start += 1 << order

    def take(self, count: int) -> tuple[int, int] | None:
        """``(start, order)`` of a region of ``2 ** order >= count`` slots; None when there is none."""
        order = (count - 1).bit_length()
        found = next((o for o in sorted(self._free) if o >= order and self._free[o]), None)
        if found is None:
            return None
        start = min(self._free[found])
        self._free[found].remove(start)
        while found > order:
            found -= 1
            self._free[found].add(start + (1 << found))
        return start, order

    def give_back(self, region: tuple[int, int]) -> None:
        start, order = region
        while start ^ (1 << order) in self._free[order]:
            self._free[order].remove(start ^ (1 << order))
            start &= ~(1 << order)
            order += 1
        self._free[order].add(start)


RESERVED: dict[str, Callable[[Lengths], int]] = {
    "max": lambda request: LONGEST,
    "power of two": lambda request: min(LONGEST, request.prompt + (1 << (request.output - 1).bit_length())),
    "oracle": lambda request: request.prompt + request.output,
}


def reserving(requests: list[Lengths], slots: int, reserve: Callable[[Lengths], int]) -> dict[str, float]:
    """Percent of the slots, averaged over the steps while requests wait: ``useful`` hold a token, ``later`` will hold
    one before the request ends, ``internal`` were reserved and never will, ``external`` are free or lost to the
    rounding of the buddy allocator. A step gives every running request one token; who waits goes in order.
    """
    buddy, waiting = Buddy(slots), deque(requests)
    running: list[tuple[Lengths, tuple[int, int], int]] = []
    totals: Counter[str] = Counter()
    step = warm = 0
    while waiting:
        while waiting and (region := buddy.take(reserve(waiting[0]))) is not None:
            running.append((waiting.popleft(), region, step))
        warm = warm or step * (len(requests) - len(waiting) > len(requests) // 10)
        if warm:
            totals["steps"] += 1
            for request, _, since in running:
                held = request.prompt + min(step - since, request.output)
                whole = request.prompt + request.output
                totals["useful"] += held
                totals["later"] += whole - held
                totals["internal"] += reserve(request) - whole
        step += 1
        for entry in [entry for entry in running if step - entry[2] >= entry[0].output]:
            running.remove(entry)
            buddy.give_back(entry[1])
    parts = {name: 100 * totals[name] / (slots * totals["steps"]) for name in ("useful", "later", "internal")}
    return {
        name: round(value, 1) for name, value in (parts | {"external": 100 - sum(parts.values())}).items()
    }


def paged(requests: list[Lengths], slots: int, block_size: int) -> dict[str, float]:
    """The same of our own scheduler and block pool: ``internal`` are the empty slots of blocks in use, the last block
    of each request above all, ``external`` the free blocks."""
    kv = KVCacheManager(slots // block_size, block_size, prefix_caching=False)
    scheduler = Scheduler(kv, max_batched_tokens=LONGEST + slots, max_running=slots // block_size)
    for order, request in enumerate(requests):
        scheduler.add(
            Sequence(
                request_id=str(order),
                token_ids=[0] * request.prompt,
                num_prompt=request.prompt,
                params=SamplingParams(max_tokens=request.output),
                share=Share("a"),
                priority=Priority.API,
                arrival=0.0,
                order=order,
            )
        )
    totals: Counter[str] = Counter()
    while len(scheduler.waiting):
        for sequence, count in scheduler.schedule().items():
            scheduler.record_computed(sequence, count)
            sequence.token_ids.append(0)
        if len(requests) - len(scheduler.waiting) > len(requests) // 10:
            totals["steps"] += 1
            totals["useful"] += sum(sequence.num_computed for sequence in scheduler.running)
            totals["used"] += kv.pool.num_used * block_size
        for sequence in list(scheduler.running):
            if sequence.num_output >= sequence.params.max_tokens:
                scheduler.finish(sequence)
    whole = slots * totals["steps"]
    useful, used = 100 * totals["useful"] / whole, 100 * totals["used"] / whole
    return {
        "useful": round(useful, 1),
        "later": 0.0,
        "internal": round(used - useful, 1),
        "external": round(100 - used, 1),
    }


def simulate(
    count: int, *, slots: int, block_size: int, prompt_mean: float, output_mean: float
) -> dict[str, dict[str, float]]:
    """A row for each allocator, on the same requests in the same order."""
    requests = draw(count, prompt_mean=prompt_mean, output_mean=output_mean)
    rows = {name: reserving(requests, slots, reserve) for name, reserve in RESERVED.items()}
    rows["paged"] = paged(requests, slots, block_size)
    return {name: row | {"useful_in_paper": PAPER[name]} for name, row in rows.items()}


def filled_slots(running: list[Sequence], block_size: int) -> tuple[int, int]:
    """Slots of the blocks that ``running`` hold, and how many of them hold keys and values; a shared block counts
    once."""
    filled: dict[int, int] = {}
    for sequence in running:
        for index, block in enumerate(sequence.block_table):
            mine = min(block_size, max(0, sequence.num_computed - index * block_size))
            filled[block] = max(filled.get(block, 0), mine)
    return len(filled) * block_size, sum(filled.values())


def measure(engine: Engine, requests: list[workloads.Request]) -> dict[str, Any]:
    """Runs requests to their end, step by step. ``waste_percent``: of all allocated slots, over all steps."""
    for request in requests:
        engine.submit(
            PromptTokens(tuple(request.prompt_token_ids)),
            SamplingParams(max_tokens=request.max_tokens, ignore_eos=True),
            share=Share(request.tenant),
        )
    scheduler = engine._scheduler
    block_size = scheduler.kv.block_size
    over_time: list[tuple[int, int]] = []
    while engine.has_work:
        engine.step()
        if scheduler.running:
            over_time.append(filled_slots(scheduler.running, block_size))
    allocated, filled = (sum(column) for column in zip(*over_time, strict=True))
    every = max(1, len(over_time) // 100)
    return {
        "block_size": block_size,
        "steps": len(over_time),
        "waste_percent": round(100 * (1 - filled / allocated), 2),
        "peak_allocated_slots": max(slots for slots, _ in over_time),
        "allocated_and_filled_slots_over_time": over_time[::every],
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kv_waste", description=__doc__)
    parser.add_argument("--requests", type=int, default=2000, help="of the simulation")
    parser.add_argument("--slots", type=int, default=15_700, help="tokens that fit into the simulated memory")
    parser.add_argument("--prompt-mean", type=float, default=161.3)
    parser.add_argument("--output-mean", type=float, default=338.0)
    parser.add_argument("--workloads", default="W2,W4", help="for the engine, parted by commas")
    parser.add_argument("--no-engine", action="store_true", help="only simulate")
    parser.add_argument("--no-keep", action="store_true", help="print only")
    asked = parser.parse_args()

    settings = config()
    result: dict[str, Any] = {
        "simulation": {
            "requests": asked.requests,
            "slots": asked.slots,
            "lengths": f"exponential, mean {asked.prompt_mean} in, {asked.output_mean} out, at most {LONGEST}",
            "block_size": settings.block_size,
            "percent_of_memory": simulate(
                asked.requests,
                slots=asked.slots,
                block_size=settings.block_size,
                prompt_mean=asked.prompt_mean,
                output_mean=asked.output_mean,
            ),
        }
    }
    for name, row in result["simulation"]["percent_of_memory"].items():
        print(json.dumps({"allocator": name, **row}), flush=True)
    if not asked.no_engine:
        result |= {"model": settings.model_name, "precision": "int8", "engine": {}}
        for name in asked.workloads.split(","):
            for drafts, limits in (
                ("with drafts", settings),
                ("without drafts", replace(settings, speculation=0)),
            ):
                row = measure(Engine(limits), workloads.generate(name))
                result["engine"][f"{name} {drafts}"] = row
                waste = {"workload": name, "drafts": drafts, "waste_percent": row["waste_percent"]}
                print(json.dumps(waste), flush=True)
    if not asked.no_keep:
        print(keep("kv_waste", result))


if __name__ == "__main__":
    main()
