"""Owns the physical KV blocks: who holds each one, which may be reused, and in what order.

What always holds: a block is in exactly one of three states.

- *used*: ``ref_count > 0``;
- *cached*: nobody holds it, but it carries a prefix hash and may be revived by :meth:`BlockPool.revive`;
- *free*: nobody holds it and it carries nothing worth keeping.

``used + cached + free == num_blocks``. Cached and free blocks share one list in the order in which they will
be reused (free first, then the least recently used cached one), with O(1) insertion, removal and eviction.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable, Sequence


class BlockPool:
    """``num_blocks`` interchangeable blocks, named ``0 .. num_blocks - 1``."""

    def __init__(self, num_blocks: int) -> None:
        if num_blocks < 1:
            raise ValueError("a pool needs at least one block")
        self.num_blocks = num_blocks
        self._ref_counts = [0] * num_blocks
        self._hashes: list[bytes | None] = [None] * num_blocks
        self._by_hash: dict[bytes, int] = {}
        self._reusable: OrderedDict[int, None] = OrderedDict((block, None) for block in range(num_blocks))

    @property
    def num_available(self) -> int:
        """Blocks that :meth:`take` can hand out: free and cached ones."""
        return len(self._reusable)

    @property
    def num_used(self) -> int:
        return self.num_blocks - len(self._reusable)

    @property
    def num_cached(self) -> int:
        """Blocks that nobody holds but that a prefix could still hit."""
        return sum(1 for block in self._reusable if self._hashes[block] is not None)

    def take(self, count: int) -> list[int]:
        """Takes ``count`` blocks with a reference count of 1, evicting the oldest cached prefixes if it must.

        Raises ``ValueError`` when fewer are available; nothing is taken then.
        """
        if count > len(self._reusable):
            raise ValueError(f"{count} blocks asked, {len(self._reusable)} available")
        taken = []
        for _ in range(count):
            block, _none = self._reusable.popitem(last=False)
            self._forget(block)
            self._ref_counts[block] = 1
            taken.append(block)
        return taken

    def find(self, block_hash: bytes) -> int | None:
        """The block that holds this prefix, used or cached; takes no reference."""
        return self._by_hash.get(block_hash)

    def num_revivable(self, blocks: Iterable[int]) -> int:
        """How many of ``blocks`` would leave the reusable list if they were revived."""
        return sum(1 for block in blocks if self._ref_counts[block] == 0)

    def revive(self, blocks: Iterable[int]) -> None:
        """Adds one reference to each block."""
        for block in blocks:
            if self._ref_counts[block] == 0:
                del self._reusable[block]
            self._ref_counts[block] += 1

    def release(self, blocks: Sequence[int]) -> None:
        """Drops one reference to each block of a sequence, given in the order of its tokens.

        The last blocks of a chain become the oldest, since a prefix is useful without its tail and not the
        reverse.
        """
        for block in reversed(blocks):
            if self._ref_counts[block] <= 0:
                raise ValueError(f"block {block} released twice")
            self._ref_counts[block] -= 1
            if self._ref_counts[block] == 0:
                self._reusable[block] = None
                if self._hashes[block] is None:
                    self._reusable.move_to_end(block, last=False)

    def register(self, block: int, block_hash: bytes) -> None:
        """Makes a full, computed block findable. A second block with the same content stays anonymous."""
        if block_hash not in self._by_hash and self._hashes[block] is None:
            self._by_hash[block_hash] = block
            self._hashes[block] = block_hash

    def check_integrity(self, held: Iterable[Sequence[int]]) -> None:
        """Raises ``RuntimeError`` unless the books agree with ``held``, the block tables of all live
        sequences.
        """
        expected = Counter(block for table in held for block in table)
        for block, count in enumerate(self._ref_counts):
            if count != expected[block]:
                raise RuntimeError(f"block {block} has {count} references, {expected[block]} holders")
            if (count == 0) != (block in self._reusable):
                raise RuntimeError(f"block {block} with {count} references is misplaced in the reusable list")
        free = sum(1 for block in self._reusable if self._hashes[block] is None)
        used = sum(1 for count in self._ref_counts if count > 0)
        if free + used + self.num_cached != self.num_blocks:
            raise RuntimeError("free + used + cached blocks do not add up to the total")
        named = {block: name for block, name in enumerate(self._hashes) if name is not None}
        if named != {block: name for name, block in self._by_hash.items()}:
            raise RuntimeError("the prefix index and the blocks' hashes differ")

    def _forget(self, block: int) -> None:
        name = self._hashes[block]
        if name is not None:
            del self._by_hash[name]
            self._hashes[block] = None
