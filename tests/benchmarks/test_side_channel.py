from __future__ import annotations

from typing import Any

import pytest

from benchmarks import side_channel
from benchmarks.side_channel import PUBLIC, SALTS, auc, measure
from inference.engine.engine import Engine
from inference.request import PromptTokens, Share
from tests.engine.tiny import TinyCheckpoint, greedy, make_config


def test_auc_of_certainty_of_chance_and_of_ties() -> None:
    assert auc([1, 2, 3], [4, 5, 6]) == 1
    assert auc([4, 5, 6], [1, 2, 3]) == 0
    assert auc([1, 4], [2, 3]) == 0.5
    assert auc([1, 1], [1, 1, 1]) == 0.5
    assert auc([1, 2], [2, 3]) == pytest.approx(3.5 / 4)


def test_a_right_guess_hits_with_salts_off_and_only_then(
    llama: TinyCheckpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With cached tokens in the place of seconds: what the clock could tell."""
    engine = Engine.start(make_config(), llama)

    def cached(engine: Engine, prompt: PromptTokens, share: Share) -> Any:
        return engine.submit(prompt, greedy(1), share=share).result(20)[1].usage.cached_tokens

    monkeypatch.setattr(side_channel, "ask", cached)
    times = measure(engine, 5, vocabulary=190)
    engine.stop()
    assert times.keys() == SALTS.keys()
    assert set(times["salts off"]["right"]) == {32}
    assert set(times["salts off"]["wrong"]) == {PUBLIC}
    assert set(times["salts on"]["right"]) == set(times["salts on"]["wrong"]) == {PUBLIC}
