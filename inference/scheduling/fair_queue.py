"""Waiting requests in the order in which they should run: by priority class, then fairly between shares.

Virtual token counters after Sheng et al., "Fairness in Serving Large Language Models" (OSDI 2024): each
share's counter grows by the service it received divided by its weight, and the share with the smallest
counter goes next. A share that begins to wait is lifted to the smallest counter among those that wait, or to
the counter of the last that did, so that nobody saves up credit; its debt is kept. Every class counts for
itself: what waits behind a higher class is no measure for it. Within a share a request whose prefix is cached may
overtake others, each of them a bounded number of times; else they go in the order of arrival, preempted ones first."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from itertools import islice

from inference.request import Priority
from inference.scheduling.sequence import Sequence

PROMPT_TOKEN_COST = 1.0
OUTPUT_TOKEN_COST = 2.0
MAX_REMEMBERED_SHARES = 10_000
MAX_OVERTAKEN = 8
"""So often a request may be passed over for another of its share, or told to wait for a prefix."""
LOOKAHEAD = 32
"""So many requests of a share are compared."""
AGEING_S = 30.0
"""After so many seconds at the head of its share's queue a request moves up one class."""


class FairQueue:
    """The queue and the counters. ``add`` and ``finish`` bracket a request's whole life, running
    included. ``lead``: a share with nothing running goes before others up to so much service ahead of them."""

    def __init__(self, *, lead: float = 0.0) -> None:
        self._lead = lead
        self._queues: dict[Priority, dict[str, deque[Sequence]]] = {priority: {} for priority in Priority}
        self._counters: dict[tuple[Priority, str], float] = {}
        self._last_waiting: dict[Priority, str] = {}
        self._active: dict[str, int] = {}
        self.active_weights: dict[str, float] = {}
        """The weight of each share that has a request waiting or running."""
        self._length = 0
        self.served: defaultdict[str, float] = defaultdict(float)
        """The service of each share so far, in tokens as charged, not divided by its weight."""

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Sequence]:
        for shares in self._queues.values():
            for queue in shares.values():
                yield from queue

    def add(self, sequence: Sequence) -> None:
        """Queues a new request; the newest weight of its share is used from now on."""
        key = sequence.share.key
        self._active[key] = self._active.get(key, 0) + 1
        self.active_weights[key] = sequence.share.weight
        self.push(sequence)

    def finish(self, sequence: Sequence) -> bool:
        """Forgets a request that was added; whether it still waited."""
        waited, key = self.remove(sequence), sequence.share.key
        self._active[key] -= 1
        if self._active[key] == 0:
            del self._active[key], self.active_weights[key]
            self._prune()
        return waited

    def charge(self, sequence: Sequence, *, prompt_tokens: int = 0, output_tokens: int = 0) -> None:
        """Adds served tokens to the counter of the sequence's share."""
        cost = PROMPT_TOKEN_COST * prompt_tokens + OUTPUT_TOKEN_COST * output_tokens
        self._counters[sequence.priority, sequence.share.key] += cost / sequence.share.weight
        self.served[sequence.share.key] += cost

    def counter(self, sequence: Sequence) -> float:
        return self._counters[sequence.priority, sequence.share.key]

    def gap(self) -> float:
        """The largest difference of weighted service between two shares that wait in one class, in tokens. For any
        thread."""
        waiting = [
            [self._counters.get((priority, key), 0.0) for key in list(shares)]
            for priority, shares in self._queues.items()
        ]
        return max((max(counters) - min(counters) for counters in waiting if counters), default=0.0)

    def push(self, sequence: Sequence, *, front: bool = False) -> None:
        """Queues a sequence; ``front`` is for one that was preempted."""
        priority, key = sequence.priority, sequence.share.key
        shares = self._queues[priority]
        if key not in shares:
            own = self._counters.get((priority, key), 0.0)
            self._counters[priority, key] = max(own, self._floor(priority))
            shares[key] = deque()
        if front:
            shares[key].appendleft(sequence)
        else:
            shares[key].append(sequence)
        self._length += 1

    def head(self, hit: Callable[[Sequence], int] = lambda sequence: 0) -> Sequence | None:
        """The sequence that should run next, left in the queue: of the share whose turn it is the first with the
        longest ``hit`` in the prefix cache. None too when a hit below 0 says of all that they had better wait."""
        for priority in Priority:
            shares = self._queues[priority]
            if shares:
                return self._best(shares[min(shares, key=lambda key: self._turn(priority, key))], hit)
        return None

    def _turn(self, priority: Priority, key: str) -> tuple[float, int, int]:
        """The share with the least of it goes first; of equal counters, that with the fewest requests."""
        queue, active = self._queues[priority][key], self._active.get(key, 0)
        lead = self._lead if active == len(queue) else 0.0
        return self._counters[priority, key] - lead, active, queue[0].order

    def take(self, sequence: Sequence) -> None:
        """Takes out a sequence that will run, past those before it."""
        for other in self._queues[sequence.priority][sequence.share.key]:
            if other is sequence:
                break
            other.num_overtaken += 1
        self.remove(sequence)

    def _best(self, queue: deque[Sequence], hit: Callable[[Sequence], int]) -> Sequence | None:
        best, longest = None, -1
        for sequence in islice(queue, LOOKAHEAD):
            length = hit(sequence)
            if length > longest:
                best, longest = sequence, length
            if sequence.num_preemptions or sequence.num_overtaken >= MAX_OVERTAKEN:
                return best or sequence
        return best

    def age(self, now: float) -> None:
        """Moves heads that stood there too long up one class, so that no flood of a higher class starves them.

        The time counts from when a request became the head: of a long queue one moves up in ``AGEING_S``, and
        the rest stays in its class. A preempted one keeps its time."""
        for priority in list(Priority)[1:]:
            for queue in list(self._queues[priority].values()):
                head = queue[0]
                if head.headed_at < 0:
                    head.headed_at = now
                elif now - head.headed_at >= AGEING_S:
                    self.remove(head)
                    head.priority = Priority(head.priority - 1)
                    head.headed_at = -1.0
                    self.push(head)

    def remove(self, sequence: Sequence) -> bool:
        """Takes a sequence out; False when it is not queued."""
        shares = self._queues[sequence.priority]
        try:
            shares[sequence.share.key].remove(sequence)
        except (KeyError, ValueError):
            return False
        if not shares[sequence.share.key]:
            del shares[sequence.share.key]
            self._last_waiting[sequence.priority] = sequence.share.key
        self._length -= 1
        return True

    def _floor(self, priority: Priority) -> float:
        """The smallest counter of those that wait in a class, else the counter of the last that did."""
        last = self._counters.get((priority, self._last_waiting.get(priority, "")), 0.0)
        return min((self._counters[priority, key] for key in self._queues[priority]), default=last)

    def _prune(self) -> None:
        """Forgets idle shares without debt once there are very many; they would be lifted anyway."""
        if len(self._counters) > MAX_REMEMBERED_SHARES:
            floors = {priority: self._floor(priority) for priority in Priority}
            self._counters = {
                (priority, key): value
                for (priority, key), value in self._counters.items()
                if key in self._active or value >= floors[priority]
            }
            for key in set(self.served) - {key for _, key in self._counters}:
                del self.served[key]
