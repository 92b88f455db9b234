"""Kills and cuts at random for a long time, on both layouts: nothing may be lost, doubled, stuck or left behind.

``make soak``, or ``python -m benchmarks.faults [--kills N]`` (100, or ``SOAK_KILLS``): N kills of the worker, of parsing
children and of the whole product (embedded also of the index's process), and on PostgreSQL and Redis as many cuts of the database's connections and a tenth as
many restarts of Redis, in rounds of 200 documents. Ends with 1 and says why when a rule of :mod:`tests.faults.judging`
is broken. PostgreSQL is that of ``TESSERA_TEST_POSTGRES_URL``; without it, the embedded layout alone is tried.

The processes are started by their own commands, not forked; vectors come from hashed words (:mod:`tests.faults.words_service`).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.report import keep
from tests.faults.campaign import Campaign
from tests.faults.layouts import Apart, Embedded, Layout, running

DOCUMENTS = 200
KILLS_A_ROUND = 25
TRACES = 4_000
"""Characters of a log that are kept where something was found."""


def kinds(layout: type[Layout], kills: int) -> dict[str, int]:
    """How many of each kind a run of ``kills`` deals."""
    dealt = {"worker": kills, "child": kills, "whole": kills}
    if layout is Embedded:
        dealt["index"] = kills
    else:
        dealt |= {"postgres": kills, "redis": kills, "redis restart": max(1, kills // 10)}
    return dealt


def rounds(
    layout: type[Layout], *, kills: int, documents: int, seed: int, nursery: bool
) -> list[dict[str, Any]]:
    """Runs rounds until all kills are dealt, each on an installation of its own, until one has findings."""
    results: list[dict[str, Any]] = []
    count = -(-kills // KILLS_A_ROUND)
    for number in range(count):
        part = {
            kind: total * (number + 1) // count - total * number // count
            for kind, total in kinds(layout, kills).items()
        }
        with (
            tempfile.TemporaryDirectory(prefix="tessera-faults-") as folder,
            running(layout(Path(folder), nursery=nursery)) as installation,
        ):
            campaign = Campaign(installation, count=documents, kills=part, seed=seed + number, tell=_tell)
            result = campaign.run()
            if result["findings"]:
                result["log"] = installation.log(installation.reader)[-TRACES:]
        print(json.dumps(result), flush=True)
        results.append(result)
        if result["findings"]:
            break
    return results


def totals(results: list[dict[str, Any]]) -> dict[str, Any]:
    """What the rounds of a layout come to together."""
    dealt: dict[str, int] = {}
    for result in results:
        for kind, number in result["dealt"].items():
            dealt[kind] = dealt.get(kind, 0) + number
    return {
        "layout": results[0]["layout"],
        "documents": sum(result["documents"] for result in results),
        "dealt": dealt,
        "seconds": round(sum(result["seconds"] for result in results), 1),
        "findings": [finding for result in results for finding in result["findings"]],
    }


def _tell(line: str) -> None:
    print(line, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults", description=__doc__)
    parser.add_argument("--kills", type=int, default=int(os.environ.get("SOAK_KILLS") or 100))
    parser.add_argument("--documents", type=int, default=DOCUMENTS, help="in a round")
    parser.add_argument("--seed", type=int, default=None, help="of the first round")
    parser.add_argument("--only", choices=("embedded", "apart"))
    parser.add_argument("--nursery", action="store_true", help="fork the processes instead of starting them")
    parser.add_argument("--no-keep", action="store_true", help="print only")
    asked = parser.parse_args()
    seed = random.SystemRandom().randrange(10**6) if asked.seed is None else asked.seed
    layouts: list[type[Layout]] = [Embedded] if asked.only != "apart" else []
    if asked.only != "embedded" and "TESSERA_TEST_POSTGRES_URL" in os.environ:
        layouts.append(Apart)
    if not layouts:
        parser.error("TESSERA_TEST_POSTGRES_URL is not set")
    found = [
        rounds(layout, kills=asked.kills, documents=asked.documents, seed=seed, nursery=asked.nursery)
        for layout in layouts
    ]
    result = {
        "kills_of_each": asked.kills,
        "seed": seed,
        "processes": "forked" if asked.nursery else "started by their commands",
        "totals": [totals(results) for results in found],
        "rounds": [result for results in found for result in results],
    }
    if not asked.no_keep:
        print(keep("faults" if asked.only is None else f"faults-{asked.only}", result))
    findings = [finding for total in result["totals"] for finding in total["findings"]]
    for finding in findings:
        print(finding, file=sys.stderr)
    sys.exit(1 if findings else 0)


if __name__ == "__main__":
    main()
