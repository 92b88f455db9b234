"""The engine's fair queue in front of a server that knows no shares: a few requests at a time, chosen by us."""

from __future__ import annotations

import asyncio
import time

from inference.request import Usage
from inference.scheduling.admission import QueueGate
from inference.scheduling.fair_queue import FairQueue
from inference.scheduling.sequence import Sequence


class Turns:
    """Who may be sent next. ``gate`` is for any thread, the rest for the event loop's; each request that entered the
    gate must :meth:`leave` (or leave the gate before it waited)."""

    def __init__(self, *, max_running: int, max_requests: int, max_tokens: int) -> None:
        self._max_running = max_running
        self.gate = QueueGate(max_requests, max_tokens)
        self.queue = FairQueue()
        self._turns: dict[str, asyncio.Future[None]] = {}
        self.running = 0

    async def wait(self, sequence: Sequence) -> None:
        """Returns when the request may be sent."""
        turn = self._turns[sequence.request_id] = asyncio.get_running_loop().create_future()
        self.queue.add(sequence)
        self._send_next()
        await turn

    def leave(self, sequence: Sequence, usage: Usage, seconds: float) -> None:
        """Gives back what the request held, in the queue or, for so many seconds, at the server."""
        if self._turns.pop(sequence.request_id, None) is None:
            self.gate.leave(sequence)
            return
        if not self.queue.finish(sequence):
            self.running -= 1
            self.gate.observe(sequence.num_prompt + usage.completion_tokens, seconds / (self.running + 1))
        self.gate.leave(sequence)
        self._send_next()

    def _send_next(self) -> None:
        self.queue.age(time.monotonic())
        while self.running < self._max_running and (head := self.queue.head()) is not None:
            self.queue.remove(head)
            self.running += 1
            self.gate.leave(head)
            self.queue.charge(head, prompt_tokens=head.num_prompt)
            if not (turn := self._turns[head.request_id]).done():
                turn.set_result(None)
