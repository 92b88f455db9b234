from __future__ import annotations

import pytest

from inference.kv_cache.block_pool import BlockPool


def named_pool() -> tuple[BlockPool, list[int]]:
    """Four blocks; three of them were used and named, and given back."""
    pool = BlockPool(4)
    blocks = pool.take(3)
    for block in blocks:
        pool.register(block, bytes([block]) * 32)
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
