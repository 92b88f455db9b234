"""A server of completions on a loopback port that behaves as a test says, and remembers what it was asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tokenizers import Tokenizer as FastTokenizer
from tokenizers.models import BPE

from inference.engine.remote.dialects import OURS
from inference.engine.remote.generator import RemoteGenerator
from inference.loading.tokenizer import Tokenizer
from inference.request import PromptTokens, Share
from inference.routes import Remote

ALICE = Share("acme", cache_salt=b"a")
CHARLIE = Share("globex", cache_salt=b"c")
PROMPT = PromptTokens((5, 6))
DONE = b"data: [DONE]\n\n"

Bodies = list[dict[str, Any]]
Write = Callable[[BaseHTTPRequestHandler], None]


def frame(text: str, reason: str | None = None, **more: Any) -> bytes:
    choice = {"text": text, "token_ids": [1], "finish_reason": reason, **more}
    return f"data: {json.dumps({'choices': [choice]}, ensure_ascii=False)}\n\n".encode()


WHOLE = frame("whole") + frame("", "stop") + DONE


def letters() -> Tokenizer:
    """A tokenizer of one token for each letter."""
    names = [chr(97 + i) for i in range(26)]
    plain = FastTokenizer(BPE({name: i for i, name in enumerate(names)}, []))
    return Tokenizer(plain, tokens=dict(enumerate(names)), special={}, control_ids=(), eos_token_ids=())


@contextmanager
def serving(
    write: Write, *, status: int | None = 200, lists: Callable[[], dict[str, Any] | None] = lambda: None
) -> Iterator[tuple[str, Bodies]]:
    """The address of a server that answers each completion by ``write``, and the bodies of its requests.
    ``status=None`` leaves the status to ``write`` too. ``lists``: its one model, or None while it answers 503."""
    asked: Bodies = []

    class Server(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            if status is not None:
                begin(self, status)
            write(self)

        def do_GET(self) -> None:
            entry = lists()
            begin(self, 503 if entry is None else 200)
            self.wfile.write(json.dumps({"data": [entry]}).encode())

        def log_message(self, format: str, *args: object) -> None:
            """Keeps the tests' output clean."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()


def begin(request: BaseHTTPRequestHandler, status: int, **headers: str) -> None:
    """Sends the head of an answer."""
    request.send_response(status)
    request.send_header("content-type", "text/event-stream; charset=utf-8")
    for name, value in headers.items():
        request.send_header(name.replace("_", "-"), value)
    request.end_headers()


def generator(url: str, **options: Any) -> RemoteGenerator:
    """A generator for a server, which it takes for our own service unless ``server`` says otherwise. ``options``: of
    :class:`Remote` or of the generator."""
    known = {field.name for field in fields(Remote)} - {"tokenizer"}
    mine = {name: options.pop(name) for name in list(options) if name in known}
    return RemoteGenerator(
        Remote("r", url, **{"model": "m", "max_model_len": 1000, "server": OURS, **mine}), **options
    )


@contextmanager
def answering(
    write: Write, *, status: int | None = 200, **options: Any
) -> Iterator[tuple[RemoteGenerator, Bodies]]:
    """A :func:`generator` in front of :func:`serving`."""
    with serving(write, status=status) as (url, asked):
        remote = generator(url, **options)
        try:
            yield remote, asked
        finally:
            remote.stop()
