"""Waiting requests in the order in which they should run: by priority class, then fairly between shares.

Virtual token counters after Sheng et al., "Fairness in Serving Large Language Models" (OSDI 2024): each
share's counter grows by the service it received divided by its weight, and the share with the smallest
counter goes next. A share that comes back from idleness is lifted to the smallest counter among the active
ones, so that nobody saves up credit; its debt is kept. Within a share requests go in the order of arrival,
preempted ones first.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from inference.request import Priority, Share
from inference.scheduling.sequence import Sequence

PROMPT_TOKEN_COST = 1.0
OUTPUT_TOKEN_COST = 2.0
MAX_REMEMBERED_SHARES = 10_000


class FairQueue:
    """The queue and the counters. ``activate``/``deactivate`` bracket a request's whole life, running
    included.
    """

    def __init__(self) -> None:
        self._queues: dict[Priority, dict[str, deque[Sequence]]] = {priority: {} for priority in Priority}
        self._counters: dict[str, float] = {}
        self._active: dict[str, int] = {}
        self._weights: dict[str, float] = {}
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Sequence]:
        for shares in self._queues.values():
            for queue in shares.values():
                yield from queue

    @property
    def active_weights(self) -> dict[str, float]:
        """The weight of each share that has a request waiting or running."""
        return {key: self._weights[key] for key in self._active}

    def activate(self, share: Share) -> None:
        """Counts one more request of ``share``; its newest weight is used from now on."""
        if share.key not in self._active:
            floor = min((self._counters[key] for key in self._active), default=None)
            own = self._counters.get(share.key, 0.0)
            self._counters[share.key] = own if floor is None else max(own, floor)
        self._active[share.key] = self._active.get(share.key, 0) + 1
        self._weights[share.key] = share.weight

    def deactivate(self, share: Share) -> None:
        """Counts one request of ``share`` less."""
        self._active[share.key] -= 1
        if self._active[share.key] == 0:
            del self._active[share.key], self._weights[share.key]
            self._prune()

    def charge(self, share: Share, *, prompt_tokens: int = 0, output_tokens: int = 0) -> None:
        """Adds served tokens to the share's counter."""
        cost = PROMPT_TOKEN_COST * prompt_tokens + OUTPUT_TOKEN_COST * output_tokens
        self._counters[share.key] += cost / share.weight

    def counter(self, share: Share) -> float:
        return self._counters.get(share.key, 0.0)

    def gap(self) -> float:
        """The largest difference of weighted service between two active shares, in tokens."""
        counters = [self._counters[key] for key in self._active]
        return max(counters) - min(counters) if counters else 0.0

    def push(self, sequence: Sequence, *, front: bool = False) -> None:
        """Queues a sequence; ``front`` is for one that was preempted."""
        queue = self._queues[sequence.priority].setdefault(sequence.share.key, deque())
        if front:
            queue.appendleft(sequence)
        else:
            queue.append(sequence)
        self._length += 1

    def head(self) -> Sequence | None:
        """The sequence that should run next, left in the queue."""
        for priority in Priority:
            shares = self._queues[priority]
            if shares:
                key = min(shares, key=lambda share: (self._counters[share], shares[share][0].order))
                return shares[key][0]
        return None

    def remove(self, sequence: Sequence) -> bool:
        """Takes a sequence out; False when it is not queued."""
        shares = self._queues[sequence.priority]
        queue = shares.get(sequence.share.key)
        if queue is None:
            return False
        if queue[0] is sequence:
            queue.popleft()
        elif sequence in queue:
            queue.remove(sequence)
        else:
            return False
        if not queue:
            del shares[sequence.share.key]
        self._length -= 1
        return True

    def _prune(self) -> None:
        """Forgets idle shares without debt once there are very many; they would be lifted anyway."""
        if len(self._counters) > MAX_REMEMBERED_SHARES:
            floor = min((self._counters[key] for key in self._active), default=max(self._counters.values()))
            self._counters = {
                key: value for key, value in self._counters.items() if key in self._active or value > floor
            }
