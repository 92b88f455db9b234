"""A process with nothing but the embedder, the index and the embedded worker, to be killed by a test.

Prints "ready" when it works. Started as ``python -m tests.ingestion.worker_process``; its state is what the
environment says.
"""

from __future__ import annotations

import time

import django


def main() -> None:
    django.setup()
    from config.runtime import runtime_config
    from inference import runtime
    from inference.embedder import SentenceTransformerEmbedder
    from ingestion.worker import start_embedded_worker

    config = runtime_config()
    folder = runtime._weights(config.embedder, config, runtime.Runtime())
    runtime.install(runtime.Runtime.of(embedder=SentenceTransformerEmbedder(folder, config.embedder)))
    start_embedded_worker()
    print("ready", flush=True)
    while True:
        time.sleep(1)


if __name__ == "__main__":
    main()
