"""``celery -A config worker`` with a slow embedder that hashes words in its process, so that a test finds it at work."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence

from celery.signals import worker_init

from config.celery import app
from inference.embedder import Vectors
from tests.faults.words_service import WordsEmbedder

PASSAGE_S = 0.05


class SlowWords(WordsEmbedder):
    """Takes its time for each passage and tells of it."""

    def embed_passages(
        self, texts: Sequence[str], *, on_batch: Callable[[int], None] | None = None
    ) -> Vectors:
        for done in range(1, len(texts) + 1):
            time.sleep(PASSAGE_S)
            if on_batch is not None:
                on_batch(done)
        return super().embed_passages(texts)


@worker_init.connect
def _embed_here(**_: object) -> None:
    from inference import runtime

    runtime.install(runtime.Runtime.of(embedder=SlowWords()))


if __name__ == "__main__":
    app.worker_main(["worker", *sys.argv[1:]])
