"""Requests as lines of JSON, and the four workloads that stand for retrieval-augmented answering.

A line is ``{"prompt_token_ids": [...], "max_tokens": n, "tenant": "a", "arrival_s": 0.0}``. Lengths are exact: every
engine is told to go on after an end token. Tokens are random, so that no engine can draft from the prompt.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

LOWEST, HIGHEST = 100, 40_000
"""Ordinary tokens of the vocabularies used here."""


@dataclass(frozen=True, slots=True)
class Request:
    """``arrival_s`` counts from the start of the run."""

    prompt_token_ids: list[int]
    max_tokens: int
    tenant: str = "a"
    arrival_s: float = 0.0


def _tokens(chance: random.Random, count: int) -> list[int]:
    return [chance.randrange(LOWEST, HIGHEST) for _ in range(count)]


def one_stream(chance: random.Random) -> list[Request]:
    """W1: 512 tokens in, 128 out, alone."""
    return [Request(_tokens(chance, 512), 128)]


def rag(chance: random.Random) -> list[Request]:
    """W2: 32 at once, about 1,150 in of which the first 200 are shared, about 90 out."""
    shared = _tokens(chance, 200)
    return [
        Request(shared + _tokens(chance, chance.randint(850, 1050)), chance.randint(70, 110))
        for _ in range(32)
    ]


def rag_in_groups(chance: random.Random) -> list[Request]:
    """W3: W2 where groups of four ask about the same passages and differ in their last 60 tokens."""
    shared = _tokens(chance, 200)
    requests = []
    for _ in range(8):
        passages = shared + _tokens(chance, chance.randint(790, 990))
        requests += [Request(passages + _tokens(chance, 60), chance.randint(70, 110)) for _ in range(4)]
    return requests


def uneven(chance: random.Random) -> list[Request]:
    """W4: 64 at once, 64 in, output lengths exponential with mean 96, capped at 384."""
    lengths = [min(384, max(1, round(chance.expovariate(1 / 96)))) for _ in range(64)]
    return [Request(_tokens(chance, 64), length) for length in lengths]


WORKLOADS: dict[str, Callable[[random.Random], list[Request]]] = {
    "W1": one_stream,
    "W2": rag,
    "W3": rag_in_groups,
    "W4": uneven,
}


def generate(name: str, seed: int = 0) -> list[Request]:
    """A workload by its name; the same for the same seed."""
    return WORKLOADS[name](random.Random(f"{name} {seed}"))


def write(requests: Iterable[Request], path: Path) -> None:
    path.write_text("".join(json.dumps(asdict(request)) + "\n" for request in requests), encoding="utf-8")


def read(path: Path) -> list[Request]:
    """Raises ``ValueError`` and ``TypeError`` for a line that is no request."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [Request(**json.loads(line)) for line in lines if line.strip()]
