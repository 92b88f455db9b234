"""What must be so in the end, told from outside: by rows, index, storage, search and the processes that live.

What always holds: an empty list means that nothing is lost, doubled or stuck; each finding is a sentence.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import httpx

from tests.faults.layouts import Layout
from tests.faults.sender import Live

SHOWN = 10
STARTED_WITHIN_S = 90.0
CLOSING_S = 30.0


def wait_until_final(layout: Layout, seconds: float) -> list[str]:
    """Waits until no job is on its way; a finding for each that stays when nothing has changed for ``seconds``: longer
    than the longest lease and pause, and no matter how slow the machine."""
    deadline, last = time.monotonic() + seconds, None
    while True:
        left = layout.rows(
            "SELECT id, status, stage, interruptions, attempts FROM ingestion_ingestionjob"
            " WHERE status IN ('queued', 'processing') OR error_code = 'deleted' ORDER BY id"
        )
        if not left:
            return []
        if left != last:
            deadline, last = time.monotonic() + seconds, left
        if time.monotonic() > deadline:
            return [f"stuck: {job}" for job in left[:SHOWN]]
        time.sleep(0.2)


def search(layout: Layout, live: Mapping[int, Live], dead: Sequence[str]) -> list[str]:
    """Each canary is found once, in its document; those of deleted and replaced documents are not found."""
    found = []
    with layout.client() as client:
        for number, document in live.items():
            hits = _hits(client, document.canary)
            named = {hit["document"]["id"] for hit in hits if document.canary in hit["text"]}
            if named != {document.id}:
                found.append(f"the canary of document {number} ({document.id}) is found in {named}")
        for canary in dead:
            hits = _hits(client, canary)
            if any(canary in hit["text"] for hit in hits):
                found.append(f"the canary {canary} of a version that is gone is found")
    return found


def _hits(client: httpx.Client, canary: str) -> list[dict[str, Any]]:
    """Asks until the product, which may just have been started, answers."""
    deadline = time.monotonic() + STARTED_WITHIN_S
    while True:
        with suppress(httpx.TransportError):
            answer = client.post("/search", json={"query": canary, "limit": 5})
            if answer.status_code != 503:  # the models are not loaded yet
                break
        if time.monotonic() > deadline:
            raise TimeoutError("the product does not come back")
        time.sleep(0.1)
    assert answer.status_code == 200, answer.text
    hits: list[dict[str, Any]] = answer.json()["results"]
    return hits


def inside(layout: Layout, live: Mapping[int, Live]) -> tuple[list[str], dict[str, Any]]:
    """Rows, index and storage agree with each other and with what was answered. In the embedded layout the product
    must have been stopped. Also returns the counts."""
    state: dict[str, Any] = json.loads(layout.inside("judge").splitlines()[-1])
    documents: dict[str, Any] = state.pop("documents")
    wanted = {document.id: document.canary for document in live.values()}
    found = [f"lost: document {i}" for i in sorted(wanted.keys() - documents.keys())[:SHOWN]]
    found += [f"doubled: document {i}" for i in sorted(documents.keys() - wanted.keys())[:SHOWN]]
    for i in sorted(wanted.keys() & documents.keys()):
        is_so = documents[i]
        should_be = {
            "published": is_so["versions"][0] if is_so["versions"] else "a version",
            "versions": is_so["versions"][:1],
            "jobs": [["ready", ""]],
            "canaries": [wanted[i]],
            "ordinals_in_order": True,
        }
        if is_so != should_be:
            found.append(f"document {i} is {is_so}, not {should_be}")
    for name, value in state.items():
        if value and name not in ("points", "rows", "uploads_cut_off"):
            found.append(f"{name}: {value if not isinstance(value, list) else value[:SHOWN]}")
    if state["points"] != state["rows"]:
        found.append(f"{state['points']} points for {state['rows']} rows")
    return found, {name: len(v) if isinstance(v, list) else v for name, v in state.items()}


def orphans(layout: Layout) -> list[str]:
    """Once the processes have ended: children that live on. That of the index may still close its shards."""
    deadline = time.monotonic() + CLOSING_S
    while left := layout.living_children():
        if time.monotonic() > deadline:
            return [f"a child lives on: {left}"]
        time.sleep(0.1)
    return []
