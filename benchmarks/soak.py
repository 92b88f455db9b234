"""Mixed traffic for a long time: nothing may grow, leak, hang or change.

``make soak``, or ``python -m benchmarks.soak [--minutes N]`` (20, or ``SOAK_MINUTES``); ends with 1 and says why when
a rule is broken:

- memory: the median resident memory of the last quarter of the run is at most 2 % above that of the second quarter
  (the KV cache, which the system gives out as it is first written, is filled before the run);
- open files and threads are, when all traffic has ended, as many as before it;
- no request, sequence or handle is alive then, no KV block is held, the queue counts nothing;
- ``check_integrity`` holds every 20 steps and at the end; the engine's thread never crashed;
- a greedy and a seeded canary, sent again and again, always have the same output;
- every request ends once, for a reason that its sender knows of; the engine is never without progress for two minutes.

The traffic: prompts of 4 to 1,500 tokens in five shares of three classes, with and without a shared beginning or one
seen before, greedy and by chance with seeds, penalties and stop strings; readers in threads and in coroutines, slow
ones, ones that abort or go away; deadlines that pass; bursts beyond what the queue takes.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import random
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Sequence as Row
from dataclasses import asdict, dataclass
from typing import Any

import psutil

from benchmarks.engine.record import median
from benchmarks.report import MODEL, config, keep
from inference.config import EngineConfig
from inference.engine import engine as engine_module
from inference.engine.engine import Engine
from inference.engine.handle import RequestHandle
from inference.errors import DeadlineExceeded, Overloaded
from inference.model.source import WeightSource
from inference.request import Finished, Priority, PromptTokens, SamplingParams, Share
from inference.scheduling.sequence import Sequence

WORKERS, COROUTINES = 8, 4
MEMORY_GROWTH = 0.02
STEPS_PER_CHECK = 20
STALL_S = 120.0
DRAIN_S = 900.0
SHARES = tuple(Share(f"share {number}", (1.0, 1.0, 2.0)[number % 3], bytes([number])) for number in range(5))
LIVE = (engine_module._Request, Sequence, RequestHandle)


@dataclass(frozen=True, slots=True)
class Sample:
    """``at_s`` counts from the start of the traffic."""

    at_s: float
    rss_mib: float
    files: int
    threads: int
    waiting: int
    running: int
    kv_blocks_used: int
    finished: int


class CheckedEngine(Engine):
    """Checks its books every so many steps, on its own thread; wrong books are a crash."""

    steps = 0

    def step(self) -> bool:
        done = super().step()
        self.steps += 1
        if self.steps % STEPS_PER_CHECK == 0:
            self.check_integrity()
        return done


class Traffic:
    """Senders and readers of all kinds, until :meth:`stop`. ``failures`` says what should not have happened."""

    def __init__(self, engine: Engine, *, longest: int, seed: int = 0) -> None:
        self.counts: Counter[str] = Counter()
        self.failures: list[str] = []
        self._engine = engine
        self._longest = longest
        self._over = threading.Event()
        chance = random.Random(seed)
        self._public = self._tokens(chance, min(100, longest // 4))
        self._known = [self._tokens(chance, longest // 2) for _ in range(8)]
        self._threads = [
            threading.Thread(target=self._work, args=(random.Random(f"{seed} {number}"),), daemon=True)
            for number in range(WORKERS)
        ]
        loop = random.Random(f"{seed} loop")
        self._threads.append(threading.Thread(target=asyncio.run, args=(self._loop(loop),), daemon=True))

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Sends nothing more and waits until everything that was sent has ended."""
        self._over.set()
        for thread in self._threads:
            thread.join(DRAIN_S)
            if thread.is_alive():
                self.failures.append("a reader waits for ever")

    def _tokens(self, chance: random.Random, count: int) -> tuple[int, ...]:
        return tuple(chance.randrange(1, self._engine._vocab_size - 1) for _ in range(count))

    def _submit(self, chance: random.Random) -> tuple[RequestHandle, bool] | None:
        """A random request and whether it may end by its deadline; None when it was refused."""
        length = round(4 * (self._longest / 4) ** chance.random())
        body = chance.choice(self._known)[:length] if chance.random() < 0.3 else self._tokens(chance, length)
        public = self._public if chance.random() < 0.5 and length + len(self._public) < self._longest else ()
        warm = chance.random() < 0.5
        deadline_s = chance.choice((0.5, 3.0, 30.0)) if chance.random() < 0.15 else None
        params = SamplingParams(
            max_tokens=chance.randint(1, min(120, self._longest // 4)),
            temperature=0.8 if warm else 0.0,
            top_p=chance.choice((1.0, 0.9)),
            seed=chance.choice((None, 1, 2)),
            repetition_penalty=chance.choice((1.0, 1.0, 1.1)),
            stop=chance.choice(((), (), ("e", "the end"))),
            ignore_eos=chance.random() < 0.5,
            logprobs=chance.choice((None, None, 2)),
        )
        try:
            handle = self._engine.submit(
                PromptTokens(public + body, len(public)),
                params,
                share=chance.choice(SHARES),
                priority=chance.choice(list(Priority)),
                deadline_s=deadline_s,
            )
        except (Overloaded, DeadlineExceeded) as refusal:
            self.counts[f"refused: {refusal.code}"] += 1
            return None
        self.counts["accepted"] += 1
        return handle, deadline_s is not None

    def _work(self, chance: random.Random) -> None:
        while not self._over.is_set():
            try:
                if chance.random() < 0.01:
                    self._burst(chance)
                elif (sent := self._submit(chance)) is not None:
                    self._read(chance, *sent)
                else:
                    self._over.wait(0.2)
            except Exception:
                self.failures.append(traceback.format_exc())

    def _burst(self, chance: random.Random) -> None:
        sent = [self._submit(chance) for _ in range(2 * self._engine._config.max_queued_requests)]
        handles = [pair for pair in sent if pair is not None]
        for handle, _ in handles[::2]:
            handle.abort()
        for index, (handle, deadline) in enumerate(handles):
            self._ended(handle.result(DRAIN_S)[1], deadline=deadline, left=index % 2 == 0)

    def _read(self, chance: random.Random, handle: RequestHandle, deadline: bool) -> None:
        leaves_after = chance.randint(0, 20) if chance.random() < 0.2 else None
        pause_s = chance.choice((0.05, 0.3)) if chance.random() < 0.2 else 0.0
        end = None
        for number, event in enumerate(handle):
            if isinstance(event, Finished):
                end = event
            elif number == leaves_after:
                break
            self._over.wait(pause_s)
        if end is not None:
            self._ended(end, deadline=deadline, left=False)
            return
        handle.abort()
        self._left(handle, deadline)

    def _left(self, handle: RequestHandle, deadline: bool) -> None:
        """Waits for the end of a request whose reader went away."""
        try:
            self._ended(handle.result(DRAIN_S)[1], deadline=deadline, left=True)
        except TimeoutError:
            self.failures.append(f"request {handle.request_id} was left and does not end")

    async def _loop(self, chance: random.Random) -> None:
        await asyncio.gather(*(self._coroutine(random.Random(chance.random())) for _ in range(COROUTINES)))

    async def _coroutine(self, chance: random.Random) -> None:
        while not self._over.is_set():
            sent = self._submit(chance)
            if sent is None:
                await asyncio.sleep(0.2)
                continue
            handle, deadline = sent
            limit_s = chance.random() if chance.random() < 0.2 else DRAIN_S
            try:
                async with asyncio.timeout(limit_s):
                    async for event in handle:
                        if isinstance(event, Finished):
                            self._ended(event, deadline=deadline, left=False)
            except TimeoutError:
                await asyncio.to_thread(self._left, handle, deadline)
            except Exception:
                self.failures.append(traceback.format_exc())

    def _ended(self, end: Finished, *, deadline: bool, left: bool) -> None:
        late = isinstance(end.error, DeadlineExceeded)
        self.counts["ended: deadline" if late else f"ended: {end.reason}"] += 1
        if (end.reason == "error" and not (late and deadline)) or (end.reason == "aborted" and not left):
            self.failures.append(f"a request ended with {end}")


def alive() -> Counter[str]:
    """How many objects there are of what a request is made of."""
    gc.collect()
    return Counter(type(thing).__name__ for thing in gc.get_objects() if type(thing) in LIVE)


def growth(samples: Row[Sample]) -> float:
    """By what part the median resident memory of the last quarter exceeds that of the second."""
    quarter = len(samples) // 4
    second = median([sample.rss_mib for sample in samples[quarter : 2 * quarter]])
    return median([sample.rss_mib for sample in samples[-quarter:]]) / second - 1


def findings(before: Sample, samples: Row[Sample], after: Sample) -> list[str]:
    """The rules about numbers that are broken. ``before`` and ``after`` the traffic nothing is under way."""
    found = []
    if len(samples) >= 8 and growth(samples) > MEMORY_GROWTH:
        found.append(f"memory grew by {100 * growth(samples):.1f} %")
    for name in ("files", "threads"):
        was, now = getattr(before, name), getattr(after, name)
        if now > was:
            found.append(f"{was} {name} became {now}")
    if after.waiting or after.running or after.kv_blocks_used:
        found.append(f"something is still held: {after}")
    return found


class Soak:
    """One run on one engine, which it starts and stops. ``longest``: prompt, tokens."""

    def __init__(
        self,
        settings: EngineConfig,
        checkpoint: WeightSource | None = None,
        *,
        longest: int,
        sample_s: float = 5.0,
        report: bool = False,
    ) -> None:
        self._alive = alive()
        self._engine = CheckedEngine.start(settings, checkpoint)
        self._longest = longest
        self._sample_s = sample_s
        self._report = report
        self._started = time.monotonic()
        self._canaries: dict[str, str] = {}
        self.canary_runs = 0

    def run(self, seconds: float) -> dict[str, Any]:
        """Returns the result; its ``findings`` are empty when all is well."""
        self._fill()
        found: list[str] = []
        self._check_canaries(found)
        gc.collect()
        traffic = Traffic(self._engine, longest=self._longest)
        before, samples = self._sample(), []
        self._started = time.monotonic()
        over = threading.Event()
        canaries = threading.Thread(target=self._keep_checking, args=(over, found))
        canaries.start()
        traffic.start()
        try:
            while time.monotonic() - self._started < seconds and not found and not traffic.failures:
                time.sleep(self._sample_s)
                samples.append(self._sample())
                if self._report:
                    print(json.dumps(asdict(samples[-1])), flush=True)
                if self._engine.metrics()["seconds_without_progress"] > STALL_S:
                    found.append("requests wait and nothing advances")
        finally:
            over.set()
            traffic.stop()
            canaries.join(DRAIN_S)
        time.sleep(1.0)
        after, metrics = self._sample(), self._engine.metrics()
        found += traffic.failures + findings(before, samples, after)
        found += self._end(metrics)
        return {
            "minutes": round((time.monotonic() - self._started) / 60, 2),
            "findings": found,
            "memory_growth_percent": round(100 * growth(samples), 2) if len(samples) >= 8 else None,
            "traffic": dict(sorted(traffic.counts.items())),
            "canary_runs": self.canary_runs,
            "steps": self._engine.steps,
            "metrics": {name: value for name, value in metrics.items() if "{" not in name},
            "before": asdict(before),
            "after": asdict(after),
            "samples": [asdict(sample) for sample in samples],
        }

    def _end(self, metrics: dict[str, float]) -> list[str]:
        found = []
        if (
            metrics["queued_tokens"]
            or self._engine.health == "failed"
            or metrics.get("engine_restarts_total")
        ):
            found.append("the queue still counts tokens, or the engine crashed")
        self._engine.stop()
        try:
            self._engine.check_integrity()
        except RuntimeError as error:
            found.append(f"the books are wrong: {error}")
        return found + [
            f"{count} of {name} are still alive" for name, count in (alive() - self._alive).items()
        ]

    def _fill(self) -> None:
        """Writes every block of the cache once."""
        chance = random.Random("fill")
        for _ in range(self._engine._config.kv_cache_tokens // self._longest + 1):
            prompt = tuple(chance.randrange(1, self._engine._vocab_size - 1) for _ in range(self._longest))
            self._finish(PromptTokens(prompt), SamplingParams(max_tokens=1))

    def _keep_checking(self, over: threading.Event, found: list[str]) -> None:
        while not over.wait(self._sample_s):
            try:
                self._check_canaries(found)
            except Exception:
                found.append(traceback.format_exc())

    def _check_canaries(self, found: list[str]) -> None:
        prompt = PromptTokens(tuple(range(3, 3 + min(90, self._longest // 2))))
        seeded = SamplingParams(max_tokens=24, temperature=0.8, seed=7, ignore_eos=True)
        for name, params in (
            ("greedy", SamplingParams(max_tokens=24, ignore_eos=True)), ("seeded", seeded)
        ):  # fmt: skip
            text = self._finish(prompt, params)
            self.canary_runs += 1
            if self._canaries.setdefault(name, text) != text:
                found.append(f"the {name} canary changed from {self._canaries[name]!r} to {text!r}")

    def _finish(self, prompt: PromptTokens, params: SamplingParams) -> str:
        while True:
            try:
                handle = self._engine.submit(prompt, params, share=Share("canary", cache_salt=b"canary"))
            except Overloaded:
                time.sleep(0.2)
                continue
            text, end = handle.result(DRAIN_S)
            if end.reason != "length" and not (end.reason == "stop" and params.max_tokens == 1):
                raise RuntimeError(f"a canary ended with {end}")
            return text

    def _sample(self) -> Sample:
        metrics = self._engine.metrics()
        process = psutil.Process()
        return Sample(
            at_s=round(time.monotonic() - self._started, 1),
            rss_mib=round(process.memory_info().rss / 2**20, 1),
            files=process.num_fds(),
            threads=process.num_threads(),
            waiting=int(metrics["num_requests_waiting"]),
            running=int(metrics["num_requests_running"]),
            kv_blocks_used=int(metrics["kv_blocks_used"]),
            finished=int(metrics["e2e_request_latency_seconds_count"]),
        )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=float(os.environ.get("SOAK_MINUTES") or 20))
    parser.add_argument("--threads", type=int, default=0, help="of a step; 0 takes all")
    parser.add_argument("--no-keep", action="store_true", help="print only")
    asked = parser.parse_args()
    limits = {
        "num_threads": asked.threads,
        "max_running_requests": 16,
        "max_queued_requests": 48,
        "max_queued_tokens": 40_000,
    }
    soak = Soak(config(kv_cache_tokens=8_192, **limits), longest=1_500, report=True)
    result = soak.run(60 * asked.minutes)
    print(json.dumps({name: value for name, value in result.items() if name != "samples"}))
    if not asked.no_keep:
        print(keep("soak", {"model": MODEL, "precision": "int8", "threads": asked.threads, **result}))
    for finding in result["findings"]:
        print(finding, file=sys.stderr)
    sys.exit(1 if result["findings"] else 0)


if __name__ == "__main__":
    main()
