"""What suits the model that answers: how many passages it reads at once.

A small model is led astray by passages that do not answer: of 70 questions of SQuAD 2.0 (the half for tuning),
Qwen2.5-Coder-0.5B answered with a token F1 of .47 from the best two, .42 from three, .35 from six, although the right one was
there for .89, .96 and .99 of them. What always holds: a model whose size its name does not tell is taken for a large one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from search.answer_length import Length

SMALL_BELOW = 1e9
"""Parameters."""
_SIZE = re.compile(r"(?<![\w.])(\d+(?:\.\d+)?)\s?([mbt])(?![a-z\d])", re.IGNORECASE)
_UNITS = {"m": 1e6, "b": 1e9, "t": 1e12}


@dataclass(frozen=True, slots=True)
class Profile:
    """Most passages of a prompt, by the length of the answer."""

    brief: int
    full: int

    def passages(self, length: Length) -> int:
        return self.brief if length == "brief" else self.full


SMALL = Profile(brief=2, full=3)
LARGE = Profile(brief=6, full=6)


def parameters(model: str) -> float | None:
    """How many parameters a model has, by its name ("qwen2.5-coder-0.5b-instruct"); None where that does not tell."""
    sizes = [float(number) * _UNITS[unit.lower()] for number, unit in _SIZE.findall(model)]
    return max(sizes, default=None)


def profile_of(model: str) -> Profile:
    """The profile of the model of that name."""
    size = parameters(model)
    return SMALL if size is not None and size < SMALL_BELOW else LARGE
