"""``celery -A config worker`` with the embedder in its process, where a test has no inference service."""

from __future__ import annotations

import sys

from celery.signals import worker_init

from config.celery import app


@worker_init.connect
def _embed_here(**_: object) -> None:
    from config.runtime import runtime_config
    from inference import runtime
    from inference.embedder import SentenceTransformerEmbedder

    config = runtime_config()
    folder = runtime._weights(config.embedder, config, runtime.Runtime())
    runtime.install(runtime.Runtime.of(embedder=SentenceTransformerEmbedder(folder, config.embedder)))


if __name__ == "__main__":
    app.worker_main(["worker", *sys.argv[1:]])
