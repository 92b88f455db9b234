"""Runs one step of the model: lays the scheduled tokens side by side and returns the logits that matter."""

from __future__ import annotations

import torch
from torch import Tensor

from inference.attention.base import AttentionBackend, Segment
from inference.model.decoder import Decoder
from inference.scheduling.scheduler import Step
from inference.scheduling.sequence import Sequence


class ModelRunner:
    """Stateless between steps, but for the KV tensors in ``attention``."""

    def __init__(self, decoder: Decoder, attention: AttentionBackend, device: str) -> None:
        self._decoder = decoder
        self._attention = attention
        self._device = device

    def execute(self, step: Step) -> tuple[list[Sequence], Tensor]:
        """Computes a step; writes keys and values.

        Returns the sequences of which all known tokens are now computed, and their next-token logits
        ``[len(sequences), vocab]`` in that order.
        """
        token_ids: list[int] = []
        positions: list[int] = []
        segments: list[Segment] = []
        sampling: list[Sequence] = []
        rows: list[int] = []
        for sequence, count in sorted(step.items(), key=lambda item: item[1] != 1):
            start, end = sequence.num_computed, sequence.num_computed + count
            token_ids += sequence.token_ids[start:end]
            positions += range(start, end)
            segments.append(Segment(start, count, sequence.block_table))
            if end == sequence.num_tokens:
                sampling.append(sequence)
                rows.append(len(token_ids) - 1)
        with torch.inference_mode():
            self._attention.prepare(segments)
            logits = self._decoder.forward(
                self._tensor(token_ids), self._tensor(positions), self._tensor(rows), self._attention
            )
        return sampling, logits

    def _tensor(self, values: list[int]) -> Tensor:
        return torch.tensor(values, dtype=torch.int64, device=self._device)
