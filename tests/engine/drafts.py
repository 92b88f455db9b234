"""Drafts that are right as often as a test wants, in place of those that a look-up finds."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from inference.request import PromptTokens
from inference.sampling.prompt_lookup import PromptLookup
from tests.engine.tiny import EOS


class Oracle:
    """Drafts what is known to come after each prompt, each token wrong by the chance ``wrong``."""

    def __init__(
        self,
        prompts: Sequence[PromptTokens],
        outputs: Sequence[Sequence[int]],
        *,
        wrong: float,
        seed: int = 0,
    ) -> None:
        self._known = [
            (list(prompt.token_ids), list(output)) for prompt, output in zip(prompts, outputs, strict=True)
        ]
        self._wrong = wrong
        self._chance = random.Random(seed)

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(PromptLookup, "propose", lambda _, token_ids, most: self(token_ids, most))

    def __call__(self, token_ids: Sequence[int], most: int) -> list[int]:
        prompt, output = next(pair for pair in self._known if token_ids[: len(pair[0])] == pair[0])
        done = len(token_ids) - len(prompt)
        right = output[done : done + min(most, self._chance.randrange(12))]
        return [(token + 1) % EOS if self._chance.random() < self._wrong else token for token in right]
