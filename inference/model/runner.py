"""Runs one step of the model: lays the scheduled tokens side by side and returns the logits that matter."""

from __future__ import annotations

from collections.abc import Sequence as Row
from typing import Protocol

import torch
from torch import Tensor

from inference.attention.base import Segment
from inference.sampling.prompt_lookup import PAYS_UP_TO
from inference.scheduling.scheduler import Step
from inference.scheduling.sequence import Sequence


class StepModel(Protocol):
    """A decoder with its keys and values. ``alignment``: prompt chunks that do not end their prompt, and prefix
    hits, must end at a multiple of so many tokens, for the promise of the number format to hold. ``exact``: a row of
    logits depends on its own sequence alone, to the bit, however that is cut. ``kv_cache_bytes``: of all blocks."""

    alignment: int
    exact: bool
    kv_cache_bytes: int

    def forward(self, token_ids: Row[int], rows: Row[int], segments: Row[Segment]) -> Tensor:
        """Computes the tokens of ``segments``, which lie one after another in ``token_ids``; those of length 1
        come first. Writes keys and values; returns logits fp32 ``[len(rows), vocab]`` of the chosen rows."""
        ...


class ModelRunner:
    """Stateless between steps, but for the keys and values that the model holds."""

    def __init__(self, model: StepModel) -> None:
        self._model = model
        self.alignment = model.alignment
        self.kv_cache_bytes = model.kv_cache_bytes

    def speculation(self, asked: int | None) -> int:
        """How many decodes may draft. Where prompts are cut on a grid a verified draft would leave it."""
        if self.alignment > 1:
            return 0
        return asked if asked is not None else PAYS_UP_TO if self._model.exact else 0

    def execute(self, step: Step) -> tuple[list[Sequence], Tensor]:
        """Computes a step; writes keys and values.

        Returns the sequences of which all known tokens are now computed, and their next-token logits
        ``[len(sequences), vocab]`` in that order. A sequence with a draft comes once more for each drafted token,
        with the logits after it."""
        token_ids: list[int] = []
        segments: list[Segment] = []
        sampling: list[Sequence] = []
        rows: list[int] = []
        for sequence, count in sorted(step.items(), key=_neighbours):
            start, end = sequence.num_computed, sequence.num_computed + count
            token_ids += sequence.token_ids[start:end] + sequence.draft
            segments.append(Segment(start, count, sequence.block_table))
            if end >= sequence.num_tokens:
                chosen = 1 + len(sequence.draft)
                sampling += [sequence] * chosen
                rows += range(len(token_ids) - chosen, len(token_ids))
        with torch.inference_mode():
            return sampling, self._model.forward(token_ids, rows, segments)


def _neighbours(scheduled: tuple[Sequence, int]) -> tuple[bool, list[int]]:
    """Single tokens first; sequences that share blocks side by side, so that attention reads these once."""
    sequence, count = scheduled
    return count != 1, sequence.block_table
