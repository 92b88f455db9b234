"""Ten kills of each kind at random while two hundred documents come in: nothing is lost, doubled or stuck.

The seed differs from run to run and is printed; ``python -m benchmarks.faults`` does the same a hundred times, with
processes that are started and not forked.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.faults.campaign import Campaign
from tests.faults.layouts import Apart, Embedded, Layout, running

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

DOCUMENTS = 200
KILLS = {"worker": 10, "child": 10, "whole": 10}
PAUSE_S = 0.4
SEARCHED = 50


def outlives(layout: Layout, kills: dict[str, int]) -> None:
    seed = random.SystemRandom().randrange(10**6)
    with running(layout):
        campaign = Campaign(
            layout, count=DOCUMENTS, kills=kills, seed=seed, pause_s=PAUSE_S, searched=SEARCHED
        )
        result = campaign.run()
        print(result)
        assert result["dealt"] == kills
        assert result["findings"] == [], layout.log(layout.reader)


def test_one_process_on_sqlite(tmp_path: Path) -> None:
    outlives(Embedded(tmp_path, nursery=True), {**KILLS, "index": 5})


@pytest.mark.postgres
@pytest.mark.redis
def test_web_worker_and_beat_on_postgresql_and_redis(tmp_path: Path) -> None:
    outlives(Apart(tmp_path, nursery=True), {**KILLS, "postgres": 5, "redis": 3, "redis restart": 2})
