"""Kills and cuts at random moments while documents come in, are replaced and deleted; then the end is judged.

What always holds: the same seed deals the same kinds in the same order with the same pauses; a kill of a ``worker``
or a ``child`` hits one that works on a job; kills are dealt over the whole of the uploading.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from tests.faults import judging
from tests.faults.layouts import INDEX, Apart, Layout
from tests.faults.sender import Live, Sender

KINDS = ("worker", "child", "whole", "index", "postgres", "redis", "redis restart")
WORK_WITHIN_S = 300.0
STILL_S = 120.0
"""How long nothing may change before what is left counts as stuck."""
HEAD_START = 0.15
"""The share of the acts that go out before the first kill."""


class Campaign:
    """One run on one layout, which is set up. ``kills``: how many of each of :data:`KINDS`; ``pause_s``: how long work
    is let go on, at most, before each; ``searched``: how many of the documents that are there in the end are asked for
    over the API (None: all). Whether index and rows agree is judged for all."""

    def __init__(
        self, layout: Layout, *, count: int, kills: Mapping[str, int], seed: int, pause_s: float = 1.5,
        searched: int | None = None, tell: Callable[[str], None] = print,
    ) -> None:  # fmt: skip
        self._layout = layout
        self._pause_s = pause_s
        self._searched = searched
        self._chance = random.Random(f"kills {seed}")
        self._order = [kind for kind in KINDS for _ in range(kills.get(kind, 0))]
        self._chance.shuffle(self._order)
        self._seed = seed
        self._tell = tell
        self._sender = Sender(layout.client, count=count, seed=seed)
        self._count = count
        self._hit: Counter[str] = Counter()
        self._dealt: Counter[str] = Counter()
        self._dead: set[str] = set()

    def run(self) -> dict[str, Any]:
        """Returns the result; its ``findings`` are empty when all is well."""
        started = time.monotonic()
        self._tell(
            f"{self._layout.name}: seed {self._seed}, {self._count} documents, {len(self._order)} kills"
        )
        findings = self._deal_all()
        dealt_s = time.monotonic() - started
        self._sender.finish()
        findings += self._sender.findings
        findings += judging.wait_until_final(self._layout, STILL_S)
        ended_s = time.monotonic() - started
        findings += judging.search(self._layout, self._some(self._sender.live), self._sender.dead)
        self._layout.stop(*self._layout.pids)
        findings += judging.orphans(self._layout)
        found, counts = judging.inside(self._layout, self._sender.live)
        return {
            "layout": self._layout.name,
            "seed": self._seed,
            "documents": self._count,
            "replaced_or_deleted": len(self._sender.dead),
            "dealt": dict(self._dealt),
            "hit": dict(sorted(self._hit.items())),
            "answers": dict(sorted(self._sender.told.items())),
            "seconds_of_kills": round(dealt_s, 1),
            "seconds_until_final": round(ended_s, 1),
            "seconds": round(time.monotonic() - started, 1),
            "end": counts,
            "findings": findings + found,
        }

    def _some(self, live: Mapping[int, Live]) -> dict[int, Live]:
        numbers = sorted(live)
        few = (
            numbers
            if self._searched is None
            else self._chance.sample(numbers, min(self._searched, len(numbers)))
        )
        return {number: live[number] for number in few}

    def _deal_all(self) -> list[str]:
        head = round(HEAD_START * self._sender.acts) if self._order else self._sender.acts
        self._sender.start()
        self._sender.allow(head)
        for number, kind in enumerate(self._order):
            if not self._deal(kind):
                return [f"there was nothing to kill for kill {number} ({kind}) in {WORK_WITHIN_S:.0f} s"]
            self._dealt[kind] += 1
            rest = self._sender.acts - head
            self._sender.allow(rest * (number + 1) // len(self._order) - rest * number // len(self._order))
        return []

    def _deal(self, kind: str) -> bool:
        if kind == "child":
            return self._kill_child()
        if not self._wait_for_work():
            return False
        time.sleep(self._chance.uniform(0, self._pause_s))
        work = self._work()
        self._hit.update(work.values())
        layout = self._layout
        if kind == "worker":
            layout.kill(layout.reader)
            self._dead |= self._work().keys() | work.keys()
            layout.start(layout.reader)
        elif kind == "whole":
            layout.kill(*layout.processes)
            self._dead |= self._work().keys() | work.keys()
            layout.start(*layout.processes)
        elif kind == "index":
            return self._kill_index()
        else:
            assert isinstance(layout, Apart)
            self._cut(layout, kind)
        return True

    def _kill_index(self) -> bool:
        """The process of the embedded index, which the worker starts when it needs it."""
        deadline = time.monotonic() + WORK_WITHIN_S
        while not (children := self._layout.readers_children(INDEX)):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        with suppress(ProcessLookupError):
            os.kill(children[0], signal.SIGKILL)
        return True

    def _cut(self, layout: Apart, kind: str) -> None:
        if kind == "postgres":
            self._hit["connections to PostgreSQL"] += layout.cut_postgres()
        elif kind == "redis":
            self._hit["connections to Redis"] += layout.cut_redis()
        else:
            layout.stop_redis()
            time.sleep(self._chance.uniform(0, 2))
            layout.start_redis()

    def _kill_child(self) -> bool:
        """A third death in a row fails a file by rule, so none is killed while a file is there that had two."""
        deadline = time.monotonic() + WORK_WITHIN_S
        while time.monotonic() < deadline:
            if not self._rows(
                "SELECT 1 FROM ingestion_ingestionjob WHERE attempts > 1 AND status IN ('queued', 'processing')"
            ):
                if self._kill_one_that_reads():
                    self._hit["parsing children"] += 1
                    return True
            else:
                time.sleep(0.02)
        return False

    def _kill_one_that_reads(self) -> bool:
        """Looks for a second. A child lives for milliseconds; its number is looked up again just before it is killed."""
        ends = time.monotonic() + 1
        while time.monotonic() < ends:
            for child in self._layout.readers_children():
                time.sleep(self._chance.uniform(0, 0.01))
                if child in self._layout.readers_children():
                    with suppress(ProcessLookupError):
                        os.kill(child, signal.SIGKILL)
                        return True
            time.sleep(0.001)
        return False

    def _wait_for_work(self) -> bool:
        """Waits until a worker that lives has begun with a job."""
        deadline = time.monotonic() + WORK_WITHIN_S
        while time.monotonic() < deadline:
            if self._work().keys() - self._dead:
                return True
            time.sleep(0.005)
        return False

    def _work(self) -> dict[str, str]:
        """The stage of each lease, that of a worker that was killed too until it runs out."""
        held = "SELECT lease_token, stage FROM ingestion_ingestionjob WHERE status = 'processing'"
        return {str(token): f"stage {stage}" for token, stage in self._rows(held)}

    def _rows(self, sql: str) -> list[tuple[Any, ...]]:
        return self._layout.rows(sql)
