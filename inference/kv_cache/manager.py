"""Gives sequences their KV blocks and finds the prefixes that need not be computed again.

What always holds: a sequence's block table covers every position that it has computed; only blocks whose keys
and values were computed are registered for reuse; a registered block is never written again."""

from __future__ import annotations

from collections.abc import Iterable
from math import lcm

from inference.kv_cache.block_hash import name_blocks
from inference.kv_cache.block_pool import BlockPool
from inference.scheduling.sequence import Sequence

PUBLIC = None
"""Owner of blocks that everybody shares. Not a string, since requests that name no share have the key ``""``."""


class KVCacheManager:
    """Block tables over one :class:`BlockPool`.

    ``alignment``: a prefix hit is cut to a multiple of so many tokens (rounded up to whole blocks)."""

    def __init__(
        self, num_blocks: int, block_size: int, *, prefix_caching: bool = True, alignment: int = 1
    ) -> None:
        self.pool = BlockPool(num_blocks)
        self.block_size = block_size
        self.prefix_caching = prefix_caching
        self.alignment = lcm(alignment, block_size)

    @property
    def usage(self) -> float:
        """The used part of all blocks, 0 to 1; cached blocks count as unused."""
        return self.pool.num_used / self.pool.num_blocks

    def blocks_for(self, num_tokens: int) -> int:
        return -(-num_tokens // self.block_size)

    def find(self, sequence: Sequence, *, anew: bool = False) -> int:
        """How many leading blocks of a waiting sequence are cached. As a guide, unless ``anew``: it starts from what it
        found before, so that asking again costs next to nothing, and may miss a gap there."""
        if not self.prefix_caching:
            return 0
        names, usable = name_blocks(sequence, self.block_size), (sequence.num_tokens - 1) // self.block_size
        found = 0 if anew else min(sequence.num_found, usable)
        while found and self.pool.find(names[found - 1]) is None:
            found -= 1
        while found < usable and self.pool.find(names[found]) is not None:
            found += 1
        sequence.num_found = found
        return found

    def admit(self, sequence: Sequence, *, spare_blocks: int = 0) -> bool:
        """Gives a waiting sequence blocks for all its present tokens, reusing the longest cached prefix.

        Sets ``num_computed`` to the length of the hit; at least one token is always left to compute. Returns
        False, and changes nothing, unless ``spare_blocks`` would be left over."""
        cached = self.find(sequence, anew=True) * self.block_size // self.alignment * self.alignment
        names = sequence.block_hashes[: cached // self.block_size]
        hit = [block for name in names if (block := self.pool.find(name)) is not None]
        fresh = self.blocks_for(sequence.num_tokens) - len(hit)
        if self.pool.num_revivable(hit) + fresh + spare_blocks > self.pool.num_available:
            return False
        self.pool.revive(hit)
        sequence.block_table = hit + self.pool.take(fresh)
        sequence.num_computed = sequence.num_registered = len(hit) * self.block_size
        return True

    def grow(self, sequence: Sequence, *, beyond: int = 0) -> bool:
        """Makes room for the newest token and so many ``beyond`` it. Returns False, and changes nothing, when too
        few blocks are left."""
        missing = self.blocks_for(sequence.num_tokens + beyond) - len(sequence.block_table)
        if missing > self.pool.num_available:
            return False
        if missing > 0:
            sequence.block_table += self.pool.take(missing)
        return True

    def trim(self, sequence: Sequence) -> None:
        """Gives back the blocks that lie wholly beyond the sequence's tokens."""
        needed = self.blocks_for(sequence.num_tokens)
        self.pool.release(sequence.block_table[needed:])
        del sequence.block_table[needed:]

    def register_computed(self, sequence: Sequence) -> None:
        """Makes the blocks that ``num_computed`` has filled findable."""
        if not self.prefix_caching:
            return
        full = sequence.num_computed // self.block_size
        first = sequence.num_registered // self.block_size
        if full > first:
            names = name_blocks(sequence, self.block_size)
            for index in range(first, full):
                public = (index + 1) * self.block_size <= sequence.public_prefix
                owner = PUBLIC if public else sequence.share.key
                self.pool.register(sequence.block_table[index], names[index], owner)
            sequence.num_registered = full * self.block_size

    def release(self, sequence: Sequence) -> None:
        """Gives all blocks back; a second call does nothing."""
        self.pool.release(sequence.block_table)
        sequence.block_table = []
        sequence.num_computed = sequence.num_registered = 0

    def check_integrity(self, live: Iterable[Sequence]) -> None:
        """Raises ``RuntimeError`` unless free + used + cached = total and every holder is accounted for."""
        self.pool.check_integrity([sequence.block_table for sequence in live])
