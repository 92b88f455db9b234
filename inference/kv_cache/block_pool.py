"""Owns the physical KV blocks: who holds each one, which may be reused, and in what order.

What always holds: a block is in exactly one of three states.

- *used*: ``ref_count > 0``;
- *cached*: nobody holds it, but it carries a prefix hash and may be revived by :meth:`BlockPool.revive`;
- *free*: nobody holds it and it carries nothing worth keeping.

``used + cached + free == num_blocks``. Free blocks are reused first. Then the owner with the most cached blocks loses
its least recently used one, so that whoever floods the cache evicts its own prefixes and nobody keeps less than an
equal part while another holds more. All of it is O(1) a block, however many owners there are."""

from __future__ import annotations

from collections import Counter, OrderedDict, defaultdict
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
        self._owners: list[str | None] = [None] * num_blocks
        self._free: OrderedDict[int, None] = OrderedDict((block, None) for block in range(num_blocks))
        self._cached: dict[str | None, OrderedDict[int, None]] = {}
        self._num_cached = 0
        self._owners_with: defaultdict[int, OrderedDict[str | None, None]] = defaultdict(OrderedDict)
        self._most = 0

    @property
    def num_available(self) -> int:
        """Blocks that :meth:`take` can hand out: free and cached ones."""
        return len(self._free) + self._num_cached

    @property
    def num_used(self) -> int:
        return self.num_blocks - self.num_available

    @property
    def num_cached(self) -> int:
        """Blocks that nobody holds but that a prefix could still hit."""
        return self._num_cached

    def cached_of(self, owner: str | None) -> int:
        """How many cached blocks ``owner`` has."""
        return len(self._cached.get(owner, ()))

    def take(self, count: int) -> list[int]:
        """Takes ``count`` blocks with a reference count of 1, evicting the oldest cached prefixes if it must.

        Raises ``ValueError`` when fewer are available; nothing is taken then."""
        if count > self.num_available:
            raise ValueError(f"{count} blocks asked, {self.num_available} available")
        taken = []
        for _ in range(count):
            block = self._free.popitem(last=False)[0] if self._free else self._evict()
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
                self._uncache(block)
            self._ref_counts[block] += 1

    def release(self, blocks: Sequence[int]) -> None:
        """Drops one reference to each block of a sequence, given in the order of its tokens.

        The last blocks of a chain become the oldest, since a prefix is useful without its tail and not the
        reverse."""
        for block in reversed(blocks):
            if self._ref_counts[block] <= 0:
                raise ValueError(f"block {block} released twice")
            self._ref_counts[block] -= 1
            if self._ref_counts[block] == 0:
                if self._hashes[block] is None:
                    self._free[block] = None
                    self._free.move_to_end(block, last=False)
                else:
                    self._cache(block)

    def register(self, block: int, block_hash: bytes, owner: str | None) -> None:
        """Makes a full, computed block findable. A second block with the same content stays anonymous.

        ``owner`` is whose part of the cache it counts for; None stands for everybody's."""
        if block_hash not in self._by_hash and self._hashes[block] is None:
            self._by_hash[block_hash] = block
            self._hashes[block] = block_hash
            self._owners[block] = owner

    def check_integrity(self, held: Iterable[Sequence[int]]) -> None:
        """Raises ``RuntimeError`` unless the books agree with ``held``, the block tables of all live
        sequences."""
        expected = Counter(block for table in held for block in table)
        for block, count in enumerate(self._ref_counts):
            if count != expected[block]:
                raise RuntimeError(f"block {block} has {count} references, {expected[block]} holders")
        names = {block: name for block, name in enumerate(self._hashes) if name is not None}
        cached = {block: owner for owner, blocks in self._cached.items() for block in blocks}
        counts = {owner: len(blocks) for owner, blocks in self._cached.items()}
        idle = {block for block, count in enumerate(self._ref_counts) if count == 0}
        used = len(self._ref_counts) - len(idle)
        books: dict[str, tuple[object, object]] = {
            "free blocks": (set(self._free), idle - set(names)),
            "cached blocks": (cached, {block: self._owners[block] for block in idle & set(names)}),
            "number of cached blocks": (self._num_cached, sum(counts.values())),
            "owners' counts": ({o: n for n, owners in self._owners_with.items() for o in owners}, counts),
            "largest count": (self._most, max(counts.values(), default=0)),
            "free, used and cached blocks": (len(self._free) + used + self._num_cached, self.num_blocks),
            "prefix index": ({block: name for name, block in self._by_hash.items()}, names),
        }
        for what, (kept, true) in books.items():
            if kept != true:
                raise RuntimeError(f"the {what} are {kept}, not {true}")

    def _evict(self) -> int:
        """Takes the oldest cached block of the owner with the most, and forgets what it held."""
        owner = next(iter(self._owners_with[self._most]))
        block = next(iter(self._cached[owner]))
        self._uncache(block)
        name = self._hashes[block]
        if name is not None:
            del self._by_hash[name]
        self._hashes[block] = None
        return block

    def _cache(self, block: int) -> None:
        owner = self._owners[block]
        mine = self._cached.setdefault(owner, OrderedDict())
        mine[block] = None
        self._num_cached += 1
        self._recount(owner, len(mine) - 1, len(mine))

    def _uncache(self, block: int) -> None:
        owner = self._owners[block]
        mine = self._cached[owner]
        del mine[block]
        if not mine:
            del self._cached[owner]
        self._num_cached -= 1
        self._recount(owner, len(mine) + 1, len(mine))

    def _recount(self, owner: str | None, before: int, now: int) -> None:
        """Moves an owner to those with one cached block more, or less; so the largest count moves by one too."""
        if before:
            del self._owners_with[before][owner]
            if not self._owners_with[before]:
                del self._owners_with[before]
        if now:
            self._owners_with[now][owner] = None
        if now > self._most or (before == self._most and before not in self._owners_with):
            self._most = now
