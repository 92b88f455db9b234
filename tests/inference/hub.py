"""A model hub on a loopback port, and a catalogue of one tiny model that it serves."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from inference.package_slices import Slices
from inference.pins import Model, WeightFile

CONTENT = bytes(range(256)) * 1_000


def tiny_model(content: bytes = CONTENT) -> Model:
    return Model(
        name="tiny",
        kind="generator",
        files=(WeightFile("tiny.gguf", len(content), hashlib.sha256(content).hexdigest()),),
        hub_repository="someone/tiny",
        packages=Slices("weights-{n}==1.0", "part/{n:02}.bin", count=2),
    )


class Hub:
    """What the server sends, and what it was asked for."""

    def __init__(self) -> None:
        self.content = CONTENT
        self.break_after: int | None = None
        self.requests: list[tuple[str, str | None]] = []
        self.url = ""


@contextmanager
def running_hub() -> Iterator[Hub]:
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers.get("Range")
            hub.requests.append((self.path, asked))
            start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
            body = hub.content[start:]
            self.send_response(206 if asked else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if hub.break_after is not None:
                body, hub.break_after = body[: hub.break_after], None
                self.close_connection = True
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
