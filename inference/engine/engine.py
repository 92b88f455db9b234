"""The engine: requests in from any thread, steps on one thread, events out.

A step is: take in what was submitted and aborted, schedule, run the model, sample, book the results, deliver.
What always holds: only the thread that calls :meth:`Engine.step` touches sequences, blocks and the model;
every accepted request ends with exactly one ``Finished``, whatever happens to it, to its neighbours or to
that thread. A crash of that thread's loop ends all requests; it goes on with fresh books and the same weights."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import queue
import secrets
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

import torch

from inference.config import EngineConfig
from inference.engine.computation import Computation, Outcome
from inference.engine.handle import RequestHandle
from inference.engine.metrics import EngineCounters, gauges, live, shares
from inference.engine.output import OutputAssembler
from inference.engine.router import EventRouter
from inference.engine.supervisor import Supervisor
from inference.errors import DeadlineExceeded, EngineStopped, InferenceError, InvalidRequest, NotReady
from inference.kv_cache.manager import KVCacheManager
from inference.lane import ComputeLane, LanePriority
from inference.loading.checkpoint import load_checkpoint
from inference.model.build import build_model
from inference.model.runner import ModelRunner
from inference.model.source import Tokenizing, WeightSource
from inference.request import (
    Finished,
    FinishReason,
    Health,
    LiveRequest,
    Priority,
    PromptTokens,
    SamplingParams,
    Share,
)
from inference.sampling.sampler import Choice
from inference.scheduling.admission import QueueGate, validate
from inference.scheduling.scheduler import Scheduler
from inference.scheduling.sequence import Sequence as TokenSequence

logger = logging.getLogger(__name__)

IDLE_WAIT_S = 0.05
STALL_WARNING_S = 10.0
STOP_TIMEOUT_S = 30.0


@dataclass(slots=True, eq=False)
class _Request:
    """A request under way: what the scheduler, the sampler and the reader see of it."""

    sequence: TokenSequence
    handle: RequestHandle
    output: OutputAssembler


Message = _Request | str | None
"""For the engine's thread: a request, the id of one to abort, or nothing but a reason to look up."""


class Engine(Tokenizing):
    """A :class:`inference.request.TextGenerator` in this process.

    ``Engine(config)`` loads the model; :meth:`step` must then be called by one thread.
    ``Engine.start(config)`` also starts that thread. ``lane`` is the compute lane of the device, shared with
    whoever else computes there. Raises ``InvalidRequest`` for limits that contradict each other, and what
    ``load_checkpoint`` raises."""

    def __init__(
        self,
        config: EngineConfig,
        checkpoint: WeightSource | None = None,
        *,
        lane: ComputeLane | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        source = load_checkpoint(config.model_path) if checkpoint is None else checkpoint
        if config.num_threads:
            torch.set_num_threads(config.num_threads)
        self._config = config
        self._clock = clock
        self._lane = ComputeLane() if lane is None else lane
        super().__init__(source.tokenizer)
        self._new_stream = source.tokenizer.stream
        self._eos_token_ids = frozenset(source.tokenizer.eos_token_ids)
        self._vocab_size = source.config.vocab_size
        self.model_name = config.model_name
        self.max_model_len = min(
            config.max_model_len,
            source.config.max_position_embeddings,
            config.kv_cache_tokens // config.block_size * config.block_size,
        )
        if self.max_model_len < 2:
            raise InvalidRequest("kv_cache_tokens must hold at least two tokens in whole blocks.")
        self._runner = ModelRunner(build_model(source, config, max_positions=self.max_model_len))
        self._counters = EngineCounters()
        self._inbox: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._lifecycle = threading.Lock()
        self._supervisor = Supervisor(config.max_restarts, clock)
        self._stopped = False
        self.health: Health = "ok"
        self._order = 0
        self._thread: threading.Thread | None = None
        self._renew()

    @classmethod
    def start(
        cls, config: EngineConfig, checkpoint: WeightSource | None = None, *, lane: ComputeLane | None = None
    ) -> Self:
        """Loads the model and starts the thread that owns the steps."""
        engine = cls(config, checkpoint, lane=lane)
        engine._thread = threading.Thread(target=engine._loop, name="engine", daemon=True)
        engine._thread.start()
        atexit.register(engine._stop_at_exit, os.getpid())
        return engine

    # -- any thread

    def submit(
        self,
        prompt: PromptTokens,
        params: SamplingParams,
        *,
        share: Share,
        priority: Priority = Priority.INTERACTIVE,
        deadline_s: float | None = None,
    ) -> RequestHandle:
        """Queues a request and returns at once; see ``TextGenerator.submit``.

        Also raises ``DeadlineExceeded`` when queue, prompt and output would outlast ``deadline_s`` (seconds from
        now, for the whole output), as far as the last steps tell."""
        validate(prompt, params, share, max_total=self.max_model_len, vocab_size=self._vocab_size)
        now = self._clock()
        with self._lifecycle:
            if self._stopped:
                raise EngineStopped("The engine is stopped.")
            if self.health == "restarting":
                raise NotReady("The engine crashed and is started again.")
            self._order += 1
            sequence = TokenSequence(
                request_id=uuid.uuid4().hex,
                token_ids=list(prompt.token_ids),
                num_prompt=len(prompt.token_ids),
                params=params,
                share=share,
                priority=priority,
                arrival=now,
                order=self._order,
                seed=secrets.randbits(63) if params.seed is None else params.seed,
                public_prefix=prompt.public_prefix,
                deadline=None if deadline_s is None else now + deadline_s,
            )
            output = OutputAssembler(params, self._new_stream(), self._eos_token_ids)
            handle = RequestHandle(sequence.request_id, self._ask_abort)
            self._gate.enter(sequence, deadline_s=deadline_s)
            self._inbox.put(_Request(sequence, handle, output))
        return handle

    def metrics(self) -> dict[str, float]:
        """Counters (``..._total``) since the start and gauges as of now."""
        now = self._clock()
        sequences = [request.sequence for request in list(self._requests.values())]
        values = self._counters.as_dict() | gauges(self._scheduler, self._gate, sequences, now)
        values |= self._counters.rates(now) | self._counters.cost(self._config)
        values |= shares(self._scheduler.waiting)
        values["kv_cache_bytes"] = float(self._runner.kv_cache_bytes)
        values["engine_restarts_total"] = float(self._supervisor.restarts)
        waiting = values["num_requests_waiting"] + values["num_requests_running"] > 0
        values["seconds_without_progress"] = now - self._progress_at if waiting else 0.0
        return values

    def live(self) -> list[LiveRequest]:
        now = self._clock()
        return [live(request.sequence, now) for request in list(self._requests.values())]

    def stop(self) -> None:
        """Ends all requests with ``EngineStopped`` and the engine's thread with them. A second call does
        nothing."""
        with self._lifecycle:
            self._stopped = True
        self._inbox.put(None)
        thread = self._thread
        if thread is None:
            self._end_all("The engine was stopped.")
        elif thread is not threading.current_thread():
            thread.join(STOP_TIMEOUT_S)
            atexit.unregister(self._stop_at_exit)

    def _stop_at_exit(self, process: int) -> None:
        """Lets a step come to its end before the interpreter takes its world apart. A forked child has no thread."""
        if os.getpid() == process:
            self.stop()

    def _ask_abort(self, request_id: str) -> None:
        """Must not take a lock: it also runs in destructors."""
        self._inbox.put(request_id)

    # -- the engine's thread

    @property
    def has_work(self) -> bool:
        """Whether a request is waiting or running."""
        return bool(self._requests) or not self._inbox.empty()

    def step(self) -> bool:
        """One step: takes in, schedules, runs, samples, books and delivers. Returns False when nothing could
        run."""
        while not self._inbox.empty():
            self._receive(self._inbox.get_nowait())
        self._expire()
        started = self._clock()
        outcome = self._lane.run(LanePriority.ENGINE, self._compute) if self._requests else Outcome()
        if outcome.step or outcome.failed:
            self._progress_at = self._clock()
            self._book(outcome, seconds=self._progress_at - started)
        self._router.flush()
        return bool(outcome.step or outcome.failed)

    def check_integrity(self) -> None:
        """Raises ``RuntimeError`` unless blocks, sequences and requests agree; to be called between steps."""
        self._scheduler.check_integrity()
        held = [item.request_id for item in (*self._scheduler.waiting, *self._scheduler.running)]
        if sorted(held) != sorted(self._requests):
            raise RuntimeError("requests and scheduled sequences differ")

    def _loop(self) -> None:
        if self._config.num_threads:
            torch.set_num_threads(self._config.num_threads)
        reason = "The engine was stopped."
        try:
            self._supervisor.run(self._serve, self._recover)
        except BaseException:
            logger.exception("the engine's thread died")
            self.health, reason = "failed", "The engine failed."
        finally:
            with self._lifecycle:
                self._stopped = True
            self._end_all(reason)

    def _serve(self) -> None:
        while not self._stopped:
            if not self.step():
                self._wait_for_work()

    def _recover(self, pause_s: float) -> None:
        """After a crash: ends all requests, refuses others for ``pause_s`` seconds, and begins with fresh books."""
        with self._lifecycle:
            self.health = "restarting"
        self._end_all("The engine failed.")
        end = self._clock() + pause_s
        while not self._stopped and (left_s := end - self._clock()) > 0:
            with contextlib.suppress(queue.Empty):
                self._inbox.get(timeout=left_s)
        with self._lifecycle:
            self._renew()
            self.health = "ok"

    def _renew(self) -> None:
        """Fresh books: nobody waits, no KV block is held or cached."""
        config, alignment = self._config, self._runner.alignment
        self._gate = QueueGate(config.max_queued_requests, config.max_queued_tokens)
        kv = KVCacheManager(
            config.kv_cache_tokens // config.block_size,
            config.block_size,
            prefix_caching=config.prefix_caching,
            alignment=alignment,
        )
        self._scheduler = Scheduler(
            kv,
            max_batched_tokens=config.max_batched_tokens,
            max_running=config.max_running_requests,
            alignment=alignment,
            speculation=self._runner.speculation(config.speculation),
        )
        self._computation = Computation(self._runner, self._clock)
        self._router = EventRouter()
        self._requests: dict[str, _Request] = {}
        self._progress_at = self._warned_at = self._clock()

    def _wait_for_work(self) -> None:
        if self._requests:
            if self._clock() - max(self._progress_at, self._warned_at) > STALL_WARNING_S:
                logger.error("%d requests are waiting and nothing advances", len(self._requests))
                self._warned_at = self._clock()
            with contextlib.suppress(queue.Empty):
                self._receive(self._inbox.get(timeout=IDLE_WAIT_S))
        else:
            self._receive(self._inbox.get())
            self._progress_at = self._clock()

    def _receive(self, message: Message) -> None:
        if isinstance(message, _Request):
            self._requests[message.sequence.request_id] = message
            self._scheduler.add(message.sequence)
        elif message in self._requests:
            self._end(self._requests[message], "aborted")

    def _expire(self) -> None:
        now = self._clock()
        for request in list(self._requests.values()):
            deadline = request.sequence.deadline
            if deadline is not None and now > deadline:
                self._fail(request, DeadlineExceeded("The deadline passed before the end of the output."))

    def _compute(self) -> Outcome:
        step = self._scheduler.schedule(self._clock())
        for sequence in step:
            if sequence.in_gate:
                self._leave_gate(sequence)
        return self._computation.run(step)

    def _book(self, outcome: Outcome, *, seconds: float) -> None:
        step = outcome.step
        decodes = sum(1 for item in step if item.num_uncomputed == 1 and item.num_output > 0)
        kept = {item: count - len(item.draft) for item, count in step.items()}
        tokens = sum(kept.values()) + sum(len(choices) - 1 for choices in outcome.sampled.values())
        self._counters.record_step(decodes=decodes, tokens=tokens, seconds=seconds, now=self._progress_at)
        self._gate.observe(tokens, seconds, decoding=all(sequence.num_output > 0 for sequence in step))
        for sequence, count in kept.items():
            self._scheduler.record_computed(sequence, count)
        for sequence, error in outcome.failed.items():
            self._fail(self._requests[sequence.request_id], error)
        for sequence, choices in outcome.sampled.items():
            request = self._requests[sequence.request_id]
            try:
                self._book_tokens(request, choices)
            except Exception as error:
                logger.exception("request %s failed", sequence.request_id)
                self._fail(request, error)

    def _book_tokens(self, request: _Request, choices: Sequence[Choice | None]) -> None:
        """Appends a step's tokens one by one; nothing is booked of those after the end of the output."""
        sequence = request.sequence
        self._counters.record_tokens(sequence, len(choices), self._clock())
        for drafted, choice in enumerate(choices):
            if choice is None:
                raise InferenceError("The model's output is not a number.")
            if drafted:
                self._scheduler.record_computed(sequence, 1)
            self._counters.generation_tokens_total += 1
            sequence.token_ids.append(choice.token_id)
            delta, reason = request.output.push(*choice)
            if delta is not None:
                self._router.post(request.handle, delta)
            if reason is not None:
                self._end(request, reason)
                return
        self._scheduler.record_drafted(sequence, len(choices) - 1)

    def _fail(self, request: _Request, error: Exception) -> None:
        if not isinstance(error, InferenceError):
            error = InferenceError("The request failed.")
        self._end(request, "error", error)

    def _end(self, request: _Request, reason: FinishReason, error: InferenceError | None = None) -> None:
        """Frees everything that the request holds and posts its terminal event."""
        sequence = request.sequence
        del self._requests[sequence.request_id]
        self._scheduler.finish(sequence)
        self._leave_gate(sequence)
        if reason in ("stop", "length"):
            self._gate.observe_end(sequence.num_output / sequence.params.max_tokens)
        self._finish(request, reason, error)

    def _finish(self, request: _Request, reason: FinishReason, error: InferenceError | None) -> None:
        now = self._clock()
        self._counters.record_end(request.sequence, reason, now)
        self._router.post(request.handle, Finished(reason, request.sequence.usage(now), error))

    def _end_all(self, reason: str) -> None:
        """Nothing may be accepted any more. Must not fail, whatever state the engine is in."""
        while not self._inbox.empty():
            message = self._inbox.get_nowait()
            if isinstance(message, _Request):
                self._requests[message.sequence.request_id] = message
        for request in list(self._requests.values()):
            self._finish(request, "error", EngineStopped(reason))
        self._requests.clear()
        self._router.flush()

    def _leave_gate(self, sequence: TokenSequence) -> None:
        if self._gate.leave(sequence):
            self._counters.record_admission(sequence, self._clock())
