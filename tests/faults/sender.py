"""Somebody who uploads, replaces and deletes documents over the API and does not give up while it is away.

What always holds: each act is repeated until it was answered, with the same Idempotency-Key, so that what must be
there in the end is known: exactly the documents of :attr:`Sender.live`, and no word of :attr:`Sender.dead`.
"""

from __future__ import annotations

import random
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import httpx

from tests.faults import documents
from tests.faults.documents import Paper

PATIENCE_S = 180.0
REPLACED, DELETED = 0.1, 0.06


@dataclass(frozen=True, slots=True)
class Live:
    """What was answered about a document, and the canary of its newest version."""

    id: str
    canary: str


class Sender:
    """Works through a plan of ``count`` uploads on a thread, as far as :meth:`allow` lets it."""

    def __init__(self, client: Callable[[], httpx.Client], *, count: int, seed: int, first: int = 0) -> None:
        self.live: dict[int, Live] = {}
        self.dead: list[str] = []
        self.findings: list[str] = []
        self.told: Counter[str] = Counter()
        self._client = client
        self._seed = seed
        self._plan = _plan(random.Random(f"plan {seed} {first}"), first, count)
        self._versions: Counter[int] = Counter()
        self._allowed = threading.Semaphore(0)
        self._thread = threading.Thread(target=self._run, daemon=True)

    @property
    def acts(self) -> int:
        return len(self._plan)

    def start(self) -> None:
        self._thread.start()

    def allow(self, acts: int) -> None:
        """Lets so many more acts of the plan go out."""
        self._allowed.release(acts)

    def finish(self) -> None:
        """Lets everything go out and waits for it."""
        self.allow(self.acts)
        self.wait()

    def start_one(self, act: str, number: int) -> None:
        """Does one act on a thread, beside any plan; :meth:`wait` waits for it."""
        self._thread = threading.Thread(target=self._do, args=(act, number), daemon=True)
        self._thread.start()

    def wait(self) -> None:
        self._thread.join(10 * PATIENCE_S)
        if self._thread.is_alive():
            self.findings.append("an act is repeated for ever")

    def _run(self) -> None:
        for act, number in self._plan:
            self._allowed.acquire()
            if not self._do(act, number):
                return

    def _do(self, act: str, number: int) -> bool:
        try:
            self.delete(number) if act == "delete" else self.send(number)
        except Exception:
            self.findings.append(f"{act} of document {number}: {traceback.format_exc()}")
            return False
        return True

    def send(self, number: int) -> Live:
        """Uploads the document, or its next version."""
        self._versions[number] += 1
        paper = documents.make(number, version=self._versions[number], seed=self._seed)
        answer = self._until_answered(lambda client: self._post(client, paper))
        if answer.status_code != 202:
            raise RuntimeError(f"{answer.status_code}: {answer.text[:300]}")
        if (old := self.live.get(number)) is not None:
            self.dead.append(old.canary)
        self.live[number] = Live(str(answer.json()["id"]), paper.canary)
        return self.live[number]

    def delete(self, number: int) -> None:
        """A deletion whose answer was lost is asked for again, and may then have nothing left to delete."""
        gone = self.live[number]
        answer = self._until_answered(lambda client: client.delete(f"/documents/{gone.id}"))
        if answer.status_code not in (204, 404):
            raise RuntimeError(f"{answer.status_code}: {answer.text[:300]}")
        self.dead.append(self.live.pop(number).canary)

    def _post(self, client: httpx.Client, paper: Paper) -> httpx.Response:
        return client.post(
            "/documents",
            files={"file": (paper.name, paper.content)},
            data={"external_id": f"document-{paper.number}"},
            headers={"Idempotency-Key": paper.canary},
        )

    def _until_answered(self, ask: Callable[[httpx.Client], httpx.Response]) -> httpx.Response:
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                with self._client() as client:
                    answer = ask(client)
                self.told[f"answered {answer.status_code}"] += 1
                if answer.status_code < 500:
                    return answer
            except httpx.TransportError as error:
                self.told[type(error).__name__] += 1
            if time.monotonic() > deadline:
                raise TimeoutError("the product does not come back")
            time.sleep(0.1)


def _plan(chance: random.Random, first: int, count: int) -> list[tuple[str, int]]:
    plan: list[tuple[str, int]] = []
    there: list[int] = []
    for number in range(first, first + count):
        plan.append(("send", number))
        there.append(number)
        if chance.random() < REPLACED:
            plan.append(("send", chance.choice(there)))
        if chance.random() < DELETED:
            plan.append(("delete", there.pop(chance.randrange(len(there)))))
    return plan
