"""Whether the passages found answer the question at all: decided before anything is written, from calibrated signals.

Three signals: the best cosine of question and passage; how much of the question two neighbouring sentences say; and the
model's own yes or no, one token after the passages, which are then in its prefix cache for the answer. A logistic
regression makes a probability of them. It was fitted on one half of the questions (``benchmarks/calibration.py``) and is
told on the other in ``docs/answering.md``. What always holds: a model or an embedder for which nothing was fitted
is not asked; the signals do not depend on how many documents an organisation has.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from inference.request import Delta, Finished, Handle, SamplingParams, TextGenerator
from search.passages import Source
from search.support import Evidence

YES_OR_NO = SamplingParams(max_tokens=1, logprobs=20)
_YES, _NO = ("yes", "ja"), ("no", "nein")


@dataclass(frozen=True, slots=True)
class Signals:
    """``cosine``: of the question and the nearest passage. ``said``: the share of the question's content words, the
    rarer the heavier, that two neighbouring sentences say. ``says_yes``: by how much the model's logarithm of "yes" is
    above that of "no"."""

    cosine: float
    said: float
    says_yes: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """The weights of the signals, and what is added to them."""

    cosine: float
    said: float
    says_yes: float
    constant: float

    def probability(self, signals: Signals) -> float:
        """That the passages answer the question."""
        logit = (
            self.constant
            + self.cosine * signals.cosine
            + self.said * signals.said
            + self.says_yes * signals.says_yes
        )
        return 1 / (1 + math.exp(-max(-50.0, min(50.0, logit))))


CALIBRATED: dict[tuple[str, str], Calibration] = {
    ("qwen2.5-coder-0.5b-instruct", "all-MiniLM-L6-v2"): Calibration(
        cosine=7.83, said=1.48, says_yes=2.35, constant=-3.57
    ),
}
"""By language model and embedder."""


def calibration_for(model: str, embedder: str) -> Calibration | None:
    """What was fitted for these models, or None."""
    return CALIBRATED.get((model, embedder))


def share_said(question: str, sources: Sequence[Source], read: Sequence[Source]) -> float:
    """``Signals.said``: how much of the question ``read``, some of the ``sources``, say."""
    evidence = Evidence(sources)
    return max((evidence.share_said(source.n, question) for source in read), default=0.0)


def ask(generator: TextGenerator, handle: Handle) -> tuple[float | None, Finished]:
    """``Signals.says_yes`` of a request with :data:`YES_OR_NO`, and how it ended. None where no likelihoods came."""
    says_yes: float | None = None
    for event in handle:
        if isinstance(event, Finished):
            return says_yes, event
        if event.logprobs:
            says_yes = _yes_before_no(generator, event)
    raise AssertionError("a handle ends with Finished")


def _yes_before_no(generator: TextGenerator, event: Delta) -> float:
    """A word that is not among the likeliest is as likely as the last of them at most; 0 where neither is."""
    found: dict[str, float] = {}
    least = 0.0
    for chosen in event.logprobs:
        for token_id, logprob in ((chosen.token_id, chosen.logprob), *chosen.top):
            word = generator.token_bytes(token_id).decode(errors="replace").strip().lower()
            found[word] = max(found.get(word, logprob), logprob)
            least = min(least, logprob)
    yes, no = (max((found[word] for word in said if word in found), default=None) for said in (_YES, _NO))
    if yes is None and no is None:
        return 0.0
    return (least if yes is None else yes) - (least if no is None else no)
