"""The regression finds the weights that made its data, and the trade-off counts what it says."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.calibration import Case, area, fitted, report, trade_off


def test_the_weights_that_made_the_data_are_found() -> None:
    chance = np.random.default_rng(7)
    signals = chance.normal(size=(4000, 3))
    likely = 1 / (1 + np.exp(-(signals @ [2.0, 0.0, -1.0] + 0.5)))
    answerable = (chance.random(4000) < likely).astype(float)
    assert fitted(signals, answerable, np.ones(4000)) == pytest.approx([2.0, 0.0, -1.0, 0.5], abs=0.25)


def test_a_trade_off_counts_refusals_of_either_kind() -> None:
    likely = np.array([0.05, 0.32, 0.9, 0.05, 0.32, 0.9])
    answerable = np.array([False, False, False, True, True, True])
    rows = {row["threshold"]: row for row in trade_off(likely, answerable)}
    assert (rows[0.1]["refusal_recall"], rows[0.1]["false_refusal_rate"]) == (0.3333, 0.3333)
    assert (rows[0.35]["refusal_recall"], rows[0.35]["refusal_f1"]) == (0.6667, 0.5714)
    assert area(likely, answerable) == 0.5
    assert area(np.array([0.1, 0.9]), np.array([False, True])) == 1.0


def test_suites_weigh_alike_and_halves_are_told_apart() -> None:
    cases = [
        Case(suite, split, answerable, (0.8 if answerable else 0.2, 0.5, 0.0))
        for suite, times in (("large", 30), ("small", 3))
        for split in ("dev", "held")
        for answerable in (True, False)
        for _ in range(times)
    ]
    told = report(cases)
    assert told["held: large"]["questions"] == 60
    assert told["held: small"]["area"] == 1.0
    assert told["weights"]["cosine"] > 1
