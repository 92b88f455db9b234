from __future__ import annotations

import pytest

from inference.kv_cache.block_pool import BlockPool
from inference.kv_cache.manager import PUBLIC, KVCacheManager
from inference.request import Priority, SamplingParams, Share
from inference.scheduling.sequence import Sequence


def named_pool() -> tuple[BlockPool, list[int]]:
    """Four blocks; three of them were used and named, and given back."""
    pool = BlockPool(4)
    blocks = pool.take(3)
    for block in blocks:
        pool.register(block, bytes([block]) * 32, "acme")
    pool.release(blocks)
    return pool, blocks


def test_free_blocks_go_first_then_the_tail_of_the_oldest_chain() -> None:
    pool, blocks = named_pool()
    assert pool.num_cached == 3
    (free,) = pool.take(1)
    assert free not in blocks
    assert pool.take(3) == blocks[::-1]
    assert pool.num_cached == 0


def test_a_cached_block_can_be_revived_and_shared() -> None:
    pool, blocks = named_pool()
    found = pool.find(bytes([blocks[0]]) * 32)
    assert found == blocks[0]
    pool.revive([found])
    pool.revive([found])
    pool.release([found])
    pool.check_integrity([[found]])
    assert pool.num_used == 1
    assert found not in pool.take(3)


def test_the_owner_with_the_most_cached_blocks_loses_one_first() -> None:
    pool = BlockPool(10)
    small, large = pool.take(3), pool.take(7)
    for block in small:
        pool.register(block, bytes([block]) * 32, "globex")
    pool.release(small)  # the least recently used
    for block in large:
        pool.register(block, bytes([block]) * 32, "acme")
    pool.release(large)
    taken = pool.take(4)
    assert set(taken) <= set(large)
    assert taken == large[::-1][:4], "the tail of the chain goes first"
    assert (pool.cached_of("acme"), pool.cached_of("globex")) == (3, 3)
    pool.check_integrity([taken])
    more = pool.take(2)
    assert {pool.cached_of("acme"), pool.cached_of("globex")} == {2}
    pool.check_integrity([taken, more])


def test_evicting_costs_the_same_however_many_owners_there_are() -> None:
    looked_at = 0

    class Owner(str):
        """Counts how often a pool asks for it."""

        __slots__ = ()

        def __hash__(self) -> int:
            nonlocal looked_at
            looked_at += 1
            return super().__hash__()

    def per_eviction(owners: int) -> float:
        nonlocal looked_at
        pool = BlockPool(2 * owners)
        blocks = pool.take(2 * owners)
        for block in blocks:
            pool.register(block, block.to_bytes(32, "little"), Owner(block // 2))
        pool.release(blocks)
        looked_at = 0
        taken = pool.take(owners)
        count = looked_at / owners
        pool.check_integrity([taken])
        assert all(pool.cached_of(str(owner)) == 1 for owner in range(owners)), "one of each pair is left"
        return count

    assert per_eviction(400) <= 2 * per_eviction(4)


def test_blocks_of_a_share_without_a_name_are_not_everybodys() -> None:
    manager = KVCacheManager(8, 4)
    sequence = Sequence(
        request_id="r",
        token_ids=list(range(17)),
        num_prompt=17,
        params=SamplingParams(),
        share=Share(""),
        priority=Priority.API,
        arrival=0.0,
        order=1,
        public_prefix=4,
    )
    assert manager.admit(sequence)
    sequence.num_computed = 16
    manager.register_computed(sequence)
    manager.release(sequence)
    assert (manager.pool.cached_of(PUBLIC), manager.pool.cached_of("")) == (1, 3)


def test_releasing_twice_is_refused() -> None:
    pool = BlockPool(2)
    blocks = pool.take(1)
    pool.release(blocks)
    with pytest.raises(ValueError, match="released twice"):
        pool.release(blocks)


def test_taking_too_many_takes_nothing() -> None:
    pool = BlockPool(2)
    with pytest.raises(ValueError, match="3 blocks asked"):
        pool.take(3)
    assert pool.num_available == 2


def test_integrity_notices_a_lost_holder_and_a_foreign_one() -> None:
    pool = BlockPool(2)
    blocks = pool.take(1)
    pool.check_integrity([blocks])
    with pytest.raises(RuntimeError, match="1 references, 0 holders"):
        pool.check_integrity([])
    with pytest.raises(RuntimeError, match="2 holders"):
        pool.check_integrity([blocks, blocks])
