"""Short files that are claimed and read, ready to go on together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import wait
from contextlib import contextmanager
from typing import Any

import numpy as np

from ingestion import jobs, pipeline
from ingestion.ahead import SHORT_CHARACTERS, ReadAhead, Reading


class CountingEmbedder:
    """Counts the texts of each call; ``meanwhile`` is called in the middle of it."""

    name, dimension, max_tokens = "counting", 384, 256

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.calls: list[list[str]] = []
        self.meanwhile: Callable[[], None] = lambda: None

    def count_tokens(self, text: str) -> int:
        return len(text.split())

    def embed_query(self, text: str) -> Any:
        return np.full(384, 384**-0.5, dtype=np.float32)

    def embed_passages(self, texts: Any, *, on_batch: Any = None) -> Any:
        self.calls.append(list(texts))
        self.meanwhile()
        if on_batch is not None:
            on_batch(len(texts))
        return np.full((len(texts), 384), 384**-0.5, dtype=np.float32)


@contextmanager
def read_ahead() -> Iterator[tuple[Reading, ReadAhead]]:
    """The first of all that is claimed, and the others waiting, read."""
    with ReadAhead(1, claim=lambda: None, work=pipeline.work) as ahead:
        first = jobs.claim()
        assert first is not None
        more = jobs.claim_more(first, most=32, characters=SHORT_CHARACTERS)
        readings = ahead._begin_all([first, *more])
        wait([reading.result for reading in readings])
        ahead._waiting += readings[1:]
        yield readings[0], ahead
