"""Chooses the next token of each request from its logits.

What always holds: a request's choice depends on its own logits, parameters and random stream alone; a row
that is not finite fails by itself.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import torch
from torch import Tensor

from inference.request import SamplingParams

MIN_TEMPERATURE = 1e-4
"""Below it the division would overflow; the most likely token then has all the probability anyway."""


def random_stream(params: SamplingParams) -> random.Random:
    """A request's own source of chance: one draw per sampled token, equal for equal seeds."""
    return random.Random(params.seed)  # noqa: S311 - chance for sampling, not for secrets


def sample(
    logits: Tensor, params: Sequence[SamplingParams], streams: Sequence[random.Random]
) -> list[int | None]:
    """One token id per row of ``logits`` ``[n, vocab]``; None where a row has no finite maximum."""
    values, greedy = logits.max(dim=-1)
    finite = torch.isfinite(values).tolist()
    chosen: list[int | None] = [
        token if good else None for token, good in zip(greedy.tolist(), finite, strict=True)
    ]
    for row, (wish, stream) in enumerate(zip(params, streams, strict=True)):
        if wish.temperature > 0 and chosen[row] is not None:
            chosen[row] = _draw(logits[row], wish, stream.random())
    return chosen


def _draw(logits: Tensor, params: SamplingParams, uniform: float) -> int:
    """Samples one row ``[vocab]`` by inverting its cumulative distribution at ``uniform`` in [0, 1).

    top-k is applied before top-p; both keep at least the most likely token.
    """
    size = logits.shape[-1]
    scaled = logits.double() / max(params.temperature, MIN_TEMPERATURE)
    if 0 < params.top_k < size:
        scaled, ids = scaled.topk(params.top_k)
    else:
        scaled, ids = scaled.sort(descending=True, stable=True)
    cumulative = torch.softmax(scaled, dim=-1).cumsum(dim=-1)
    if params.top_p < 1:
        kept = int((cumulative < params.top_p).sum()) + 1
        cumulative = cumulative[:kept]
    target = cumulative.new_tensor(uniform * float(cumulative[-1]))
    index = min(int(torch.searchsorted(cumulative, target, right=True)), len(cumulative) - 1)
    return int(ids[index])
