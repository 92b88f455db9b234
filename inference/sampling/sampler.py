"""Chooses the next token of each request from its logits.

In vLLM's order: penalties (repetition, then frequency and presence), temperature, min-p, top-k, top-p; logprobs
are those of the untouched logits. What always holds: a choice is a function of the row's own logits, parameters,
tokens and seed, and nothing is kept between choices, so that neither neighbours, nor a preemption, a step that is
computed again or a token that is drafted and dropped change it; a row that is not finite fails by itself."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from torch import Tensor

from inference.request import SamplingParams, TokenLogprob

Values = npt.NDArray[np.float64]
MIN_TEMPERATURE = 1e-4
"""Below it the division would overflow; the most likely token then has all the probability anyway."""
LOWEST_LOGPROB = -9999.0
"""Stands for minus infinity, which JSON does not have."""
USUAL_NUCLEUS = 1024
"""Most top-p sets are smaller; only beyond it is a whole vocabulary sorted."""


class Ask(NamedTuple):
    """What a row of logits is chosen by. ``token_ids``: the prompt, ``num_prompt`` tokens, and the output so far."""

    params: SamplingParams
    seed: int
    token_ids: Sequence[int]
    num_prompt: int


class Choice(NamedTuple):
    token_id: int
    logprob: TokenLogprob | None = None


def sample(logits: Tensor, asks: Sequence[Ask]) -> list[Choice | None]:
    """One choice per row of ``logits`` ``[n, vocab]``; None where a row has no finite maximum.

    Rows that are plainly greedy cost one maximum for all of them; each of the others is worked on alone."""
    chosen: list[Choice | None] = []
    for row, (value, token, ask) in enumerate(zip(*_maxima(logits), asks, strict=True)):
        if not math.isfinite(value):
            chosen.append(None)
        elif ask.params.plainly_greedy:
            chosen.append(Choice(token))
        else:
            chosen.append(_choose(logits[row].double().cpu().numpy(), ask))
    return chosen


def _maxima(logits: Tensor) -> tuple[list[float], list[int]]:
    """The largest value of each row, or what is no number in it, and where it lies."""
    if logits.device.type == "cpu":  # numpy's takes a sixth of the time of torch's
        rows = logits.numpy()
        where = rows.argmax(axis=1)
        return rows[np.arange(len(rows)), where].tolist(), where.tolist()
    values, best = logits.max(dim=-1)
    return values.tolist(), best.tolist()


def uniform(seed: int, position: int) -> float:
    """The request's number in [0, 1) for its output token at ``position``: equal for equal seeds."""
    name = seed.to_bytes(8, "little", signed=True) + position.to_bytes(8, "little")
    return (int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), "little") >> 11) * 2.0**-53


def _choose(logits: Values, ask: Ask) -> Choice:
    params = ask.params
    scores = _penalized(logits, ask) if params.penalized else logits
    if params.temperature > 0:
        token = _draw(scores, params, uniform(ask.seed, len(ask.token_ids) - ask.num_prompt))
    else:
        token = int(scores.argmax())
    return Choice(token, None if params.logprobs is None else _logprob(logits, token, params.logprobs))


def _penalized(logits: Values, ask: Ask) -> Values:
    params, scores = ask.params, logits.copy()
    seen = np.unique(np.asarray(ask.token_ids, dtype=np.int64))
    factor = params.repetition_penalty
    scores[seen] = np.where(scores[seen] > 0, scores[seen] / factor, scores[seen] * factor)
    own, counts = np.unique(np.asarray(ask.token_ids[ask.num_prompt :], dtype=np.int64), return_counts=True)
    scores[own] -= counts * params.frequency_penalty + params.presence_penalty
    return scores


def _draw(scores: Values, params: SamplingParams, chance: float) -> int:
    """Samples by inverting the cumulative distribution at ``chance``. At least the most likely token is kept."""
    weights = np.exp((scores - scores.max()) / max(params.temperature, MIN_TEMPERATURE))
    ids = np.flatnonzero(weights >= params.min_p) if params.min_p > 0 else np.arange(len(weights))
    if 0 < params.top_k < len(ids):
        ids = _largest(weights, ids, params.top_k)
    if params.top_p < 1:
        mass = params.top_p * weights[ids].sum()
        few = _largest(weights, ids, USUAL_NUCLEUS)
        ids = few if weights[few].sum() > mass else ids
        ids = ids[np.argsort(-weights[ids], kind="stable")]
        ids = ids[: np.searchsorted(weights[ids].cumsum(), mass) + 1]
    cumulative = weights[ids].cumsum()
    # The product stays below the total, so that a token without weight is never reached.
    return int(ids[np.searchsorted(cumulative, chance * cumulative[-1], side="right")])


def _largest(weights: Values, ids: npt.NDArray[np.int64], count: int) -> npt.NDArray[np.int64]:
    """``count`` of ``ids`` with the largest weights, in the order of ``ids``."""
    if count >= len(ids):
        return ids
    return ids[np.sort(np.argpartition(-weights[ids], count - 1)[:count])]


def _logprob(logits: Values, token: int, count: int) -> TokenLogprob:
    shifted = logits - logits.max()
    values = np.maximum(shifted - np.log(np.exp(shifted).sum()), LOWEST_LOGPROB)
    best = _largest(values, np.arange(len(values)), count) if count else np.arange(0)
    best = best[np.argsort(-values[best], kind="stable")]
    top = tuple((int(other), float(values[other])) for other in best)
    return TokenLogprob(token, float(values[token]), top)
