"""Runs what the scheduler chose, and finds out who is to blame when that fails.

What always holds: a step that fails as a whole is run again one request at a time, so that only those fail that fail
alone; nothing of a failed computation is booked. A device on which nothing at all works raises in the end."""

from __future__ import annotations

import logging
from collections.abc import Callable
from collections.abc import Sequence as Row
from dataclasses import dataclass, field

from torch import Tensor

from inference.model.runner import ModelRunner
from inference.sampling.sampler import Ask, Choice, sample
from inference.scheduling.scheduler import Step
from inference.scheduling.sequence import Sequence

logger = logging.getLogger(__name__)

MAX_DEAD_STEPS = 4
DEAD_AFTER_S = 30.0
"""So many steps in a row in which every request failed, over at least so long, end the engine. A request that
cannot be computed, sent again and again at once, must not; nor a shortage of memory that passes."""


@dataclass(slots=True)
class Outcome:
    """What came of a step: the tokens computed, drafted ones included; the tokens sampled for each sequence that has
    any, one more than drafted tokens were right (None: the logits were no numbers); and those that failed."""

    step: Step = field(default_factory=dict)
    sampled: dict[Sequence, list[Choice | None]] = field(default_factory=dict)
    failed: dict[Sequence, Exception] = field(default_factory=dict)


class Computation:
    """``clock`` gives the time in seconds."""

    def __init__(self, runner: ModelRunner, clock: Callable[[], float]) -> None:
        self._runner = runner
        self._clock = clock
        self._dead_steps = 0
        self._dead_since = 0.0

    def run(self, step: Step) -> Outcome:
        """Computes and samples. Raises what the device raised once nothing has worked for several steps."""
        if not step:
            return Outcome()
        try:
            outcome = Outcome(step, self._sampled(step))
        except Exception as error:
            logger.exception("a step of %d requests failed", len(step))
            outcome = self._apart(step)
            if self._is_dead(alive=bool(outcome.step)):
                raise error
        else:
            self._dead_steps = 0
        return outcome

    def _is_dead(self, *, alive: bool) -> bool:
        if alive:
            self._dead_steps = 0
            return False
        now = self._clock()
        if self._dead_steps == 0:
            self._dead_since = now
        self._dead_steps += 1
        return self._dead_steps >= MAX_DEAD_STEPS and now - self._dead_since >= DEAD_AFTER_S

    def _apart(self, step: Step) -> Outcome:
        outcome = Outcome()
        for sequence, count in step.items():
            try:
                outcome.sampled |= self._sampled({sequence: count})
                outcome.step[sequence] = count
            except Exception as error:
                logger.exception("request %s failed alone", sequence.request_id)
                outcome.failed[sequence] = error
        return outcome

    def _sampled(self, step: Step) -> dict[Sequence, list[Choice | None]]:
        return choose(*self._runner.execute(step))


def choose(sequences: Row[Sequence], logits: Tensor) -> dict[Sequence, list[Choice | None]]:
    """Samples each sequence's rows of ``logits``, as :meth:`ModelRunner.execute` returned them, for as long as its
    draft is right.

    A drafted token counts when it is the one that is sampled there anyway, with the same chance and penalties, so
    drafts change no output."""
    first = {sequence: row for row, sequence in reversed(list(enumerate(sequences)))}
    chosen: dict[Sequence, list[Choice | None]] = {sequence: [] for sequence in sequences}
    going, position = list(chosen), 0
    while going:
        rows = logits
        if len(going) < len(sequences):
            rows = logits[[first[sequence] + position for sequence in going]]
        asks = [
            Ask(
                item.params,
                item.seed,
                item.token_ids + item.draft[:position] if position else item.token_ids,
                item.num_prompt,
            )
            for item in going
        ]
        right = []
        for sequence, choice in zip(going, sample(rows, asks), strict=True):
            chosen[sequence].append(choice)
            if choice is not None and sequence.draft[position : position + 1] == [choice.token_id]:
                right.append(sequence)
        going, position = right, position + 1
    return chosen
