"""Within a share the request with the most cached tokens goes first, and nobody is passed over for ever."""

from __future__ import annotations

from collections.abc import Sequence as Row

from inference.kv_cache.manager import KVCacheManager
from inference.request import Priority, SamplingParams, Share
from inference.scheduling.fair_queue import MAX_OVERTAKEN
from inference.scheduling.scheduler import Scheduler, Step
from inference.scheduling.sequence import Sequence

BLOCK = 16


class Traffic:
    """A scheduler without a model: every step's tokens count as computed at once."""

    def __init__(self, *, budget: int, running: int = 4, prefix_caching: bool = True) -> None:
        self.scheduler = Scheduler(
            KVCacheManager(400, BLOCK, prefix_caching=prefix_caching),
            max_batched_tokens=budget,
            max_running=running,
        )
        self.computed = 0
        self.admitted: list[str] = []
        self._order = 0

    def add(self, name: str, token_ids: Row[int], share: str = "acme", output: int = 1) -> Sequence:
        self._order += 1
        sequence = Sequence(
            request_id=name,
            token_ids=list(token_ids),
            num_prompt=len(token_ids),
            params=SamplingParams(max_tokens=output),
            share=Share(share, cache_salt=share.encode()),
            priority=Priority.API,
            arrival=0.0,
            order=self._order,
        )
        self.scheduler.add(sequence)
        return sequence

    def step(self) -> Step:
        before = {item.request_id for item in self.scheduler.running}
        step = self.scheduler.schedule()
        self.admitted += [item.request_id for item in self.scheduler.running if item.request_id not in before]
        for sequence, count in step.items():
            self.computed += count
            self.scheduler.record_computed(sequence, count)
            if sequence.num_uncomputed == 0:
                sequence.token_ids.append(0)
                if sequence.num_output == sequence.params.max_tokens:
                    self.scheduler.finish(sequence)
        self.scheduler.check_integrity()
        return step

    def run(self) -> None:
        while self.scheduler.running or len(self.scheduler.waiting):
            assert self.step(), "work is left and nothing runs"


def text(name: int, length: int) -> list[int]:
    return [name * 1000 + position for position in range(length)]


def test_a_request_with_a_cached_prefix_overtakes() -> None:
    traffic = Traffic(budget=64, running=1)
    traffic.add("first", text(1, 64))
    traffic.run()
    traffic.add("cold", text(2, 64))
    traffic.add("warm", text(1, 64) + text(3, 8))
    traffic.add("warmer", text(1, 64) + text(4, 8), share="globex")
    traffic.run()
    assert traffic.admitted.index("warm") < traffic.admitted.index("cold")
    assert traffic.computed == 64 + 64 + 8 + 72, "another share's blocks are no hit"


def test_nobody_is_overtaken_more_than_a_few_times() -> None:
    traffic = Traffic(budget=200, running=1)
    traffic.add("first", text(1, 64))
    traffic.run()
    cold = traffic.add("cold", text(2, 64))
    for number in range(3 * MAX_OVERTAKEN):
        traffic.add(f"warm {number}", text(1, 64) + text(3 + number, 8))
    traffic.run()
    assert traffic.admitted.index("cold") == 1 + MAX_OVERTAKEN
    assert cold.num_overtaken == MAX_OVERTAKEN


def test_a_preempted_request_is_overtaken_by_nobody() -> None:
    traffic = Traffic(budget=64, running=1)
    traffic.add("first", text(1, 64))
    traffic.run()
    back = traffic.add("back", text(2, 64), output=9)
    traffic.step()
    traffic.add("warm", text(1, 64) + text(3, 8))
    traffic.scheduler.preempt(back)
    traffic.admitted.clear()
    traffic.run()
    assert traffic.admitted == ["back", "warm"]


def test_a_prefix_that_is_being_computed_is_waited_for() -> None:
    """Four requests with the same passages and room for all in one step: the passages are computed once."""
    traffic = Traffic(budget=2000)
    for number in range(4):
        traffic.add(str(number), text(1, 320) + text(2 + number, 16))
    traffic.step()
    assert traffic.admitted == ["0"]
    traffic.run()
    assert traffic.computed == 320 + 4 * 16


def test_others_run_while_a_prefix_is_waited_for() -> None:
    traffic = Traffic(budget=2000)
    traffic.add("a", text(1, 320) + text(2, 16))
    traffic.add("b", text(1, 320) + text(3, 16))
    traffic.add("c", text(4, 100))
    traffic.step()
    assert traffic.admitted == ["a", "c"]


def test_a_short_prefix_is_not_waited_for() -> None:
    traffic = Traffic(budget=2000)
    for number in range(4):
        traffic.add(str(number), text(1, 24) + text(2 + number, 100))
    traffic.step()
    assert traffic.admitted == ["0", "1", "2", "3"]


def test_waiting_for_a_prefix_has_an_end() -> None:
    """Whoever computes the prefix never books it, as when each step fails."""
    traffic = Traffic(budget=2000)
    traffic.add("stuck", text(1, 320), output=2)
    follower = traffic.add("follower", text(1, 320) + text(2, 8))
    steps = 0
    while not follower.block_table:
        traffic.scheduler.schedule()
        steps += 1
    assert 1 < steps <= MAX_OVERTAKEN


def test_asking_again_hashes_nothing_again() -> None:
    traffic = Traffic(budget=16, running=1)
    traffic.add("long", text(1, 400))
    waiting = traffic.add("waiting", text(2, 400))
    traffic.step()
    names = waiting.block_hashes
    assert len(names) == 400 // BLOCK
    kept = [id(name) for name in names]
    for _ in range(5):
        traffic.step()
    assert waiting.block_hashes is names
    assert [id(name) for name in names] == kept
