"""A worker that is killed (SIGKILL) at each of the worst moments loses nothing, doubles nothing and leaves nothing behind.

One installation in the embedded layout goes through all moments; each time the process kills itself there, another is
started, the act comes to its end, and the product is stopped and judged from outside. A run takes :data:`AT_ONCE` moments by
chance, ``TESSERA_TEST_MOMENTS=all`` (``make soak``) all of them.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults import judging
from tests.faults.layouts import Embedded, Layout, is_alive, running
from tests.faults.moments import MOMENTS
from tests.faults.sender import Sender

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

DIES_WITHIN_S = 120.0
STILL_S = 120.0
AT_ONCE = 4
ALL = os.environ.get("TESSERA_TEST_MOMENTS") == "all"
CHOSEN = list(MOMENTS) if ALL else random.SystemRandom().sample(list(MOMENTS), AT_ONCE)


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Layout]:
    folder: Path = tmp_path_factory.mktemp("moments")
    with running(Embedded(folder, nursery=True)) as installation:
        yield installation


@pytest.fixture(scope="module")
def sender(layout: Layout) -> Sender:
    """Knows every document of the installation, through all moments."""
    return Sender(layout.client, count=0, seed=1)


def wait_for_its_own_kill(layout: Layout, pid: int) -> None:
    deadline = time.monotonic() + DIES_WITHIN_S
    while is_alive(pid):
        assert time.monotonic() < deadline, f"nobody came by the moment: {layout.log('serve')}"
        time.sleep(0.02)


@pytest.mark.parametrize(("number", "name"), list(enumerate(CHOSEN)), ids=CHOSEN)
def test_nothing_is_lost_doubled_or_left(layout: Layout, sender: Sender, number: int, name: str) -> None:
    if "serve" not in layout.pids:
        layout.start("serve")
    moment = MOMENTS[name]
    if moment.act != "upload":
        sender.send(number)
        assert judging.wait_until_final(layout, STILL_S) == []
    layout.stop("serve")
    layout.start("serve", moment=name)
    armed = layout.pids["serve"]
    sender.start_one(moment.act, number)
    wait_for_its_own_kill(layout, armed)
    layout.start("serve")
    sender.wait()
    assert sender.findings == []
    assert judging.wait_until_final(layout, STILL_S) == [], layout.log("serve")
    findings = judging.search(layout, sender.live, sender.dead)
    layout.stop("serve")
    findings += judging.orphans(layout)
    found, _ = judging.inside(layout, sender.live)
    assert findings + found == [], layout.log("serve")
