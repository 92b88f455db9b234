"""The engine's fair queue in front of a server that knows no shares: a few requests at a time, chosen by us."""

from __future__ import annotations

import asyncio
import time

from inference.request import Usage
from inference.scheduling.admission import QueueGate
from inference.scheduling.fair_queue import FairQueue
from inference.scheduling.sequence import Sequence


class Turns:
    """Who may be sent next. ``enter`` and ``give_up`` are for any thread, the rest for the event loop's; each request
    that entered must :meth:`leave` (or give up before it waited)."""

    def __init__(self, *, max_running: int, max_requests: int, max_tokens: int) -> None:
        self._max_running = max_running
        self._gate = QueueGate(max_requests, max_tokens)
        self._queue = FairQueue()
        self._turns: dict[str, asyncio.Future[None]] = {}
        self.running = 0

    @property
    def waiting(self) -> int:
        return self._gate.num_requests

    @property
    def waiting_tokens(self) -> int:
        return self._gate.num_tokens

    @property
    def served(self) -> dict[str, float]:
        """The service of each share so far, in weighted tokens."""
        return dict(self._queue.served)

    @property
    def gap(self) -> float:
        """The largest difference of weighted service between two shares that wait, in tokens."""
        return self._queue.gap()

    def enter(self, sequence: Sequence, *, deadline_s: float | None) -> None:
        """Counts a request in. Raises ``Overloaded`` and ``DeadlineExceeded`` as :meth:`QueueGate.enter` does."""
        self._gate.enter(sequence.share.key, sequence.queue_tokens, deadline_s=deadline_s)
        sequence.in_gate = True

    def give_up(self, sequence: Sequence) -> None:
        """Counts out a request that does not wait any more."""
        if sequence.in_gate:
            sequence.in_gate = False
            self._gate.leave(sequence.share.key, sequence.queue_tokens)

    async def wait(self, sequence: Sequence) -> None:
        """Returns when the request may be sent."""
        turn = self._turns[sequence.request_id] = asyncio.get_running_loop().create_future()
        self._queue.activate(sequence.share)
        self._queue.push(sequence)
        self._send_next()
        await turn

    def charge(self, sequence: Sequence, output_tokens: int) -> None:
        self._queue.charge(sequence, output_tokens=output_tokens)

    def leave(self, sequence: Sequence, usage: Usage, seconds: float) -> None:
        """Gives back what the request held, in the queue or, for so many seconds, at the server."""
        if self._turns.pop(sequence.request_id, None) is None:
            return self.give_up(sequence)
        if not self._queue.remove(sequence):
            self.running -= 1
            self._gate.observe(sequence.num_prompt + usage.completion_tokens, seconds / (self.running + 1))
        self.give_up(sequence)
        self._queue.deactivate(sequence.share)
        self._send_next()

    def _send_next(self) -> None:
        self._queue.age(time.monotonic())
        while self.running < self._max_running and (head := self._queue.head()) is not None:
            self._queue.remove(head)
            self.running += 1
            self.give_up(head)
            self._queue.charge(head, prompt_tokens=head.num_prompt)
            if not (turn := self._turns[head.request_id]).done():
                turn.set_result(None)
