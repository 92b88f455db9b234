"""HTTP servers of a test that go away and come back on the same port, and what they answer as an S3 bucket."""

from __future__ import annotations

import hashlib
import re
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

XML = '<?xml version="1.0"?><{0} xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{1}</{0}>'
WHEN = "2030-01-01T09:00:00.000Z"


class _Server(ThreadingHTTPServer):
    def __init__(self, port: int, handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(("127.0.0.1", port), handler)
        self.taken: list[socket.socket] = []

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        self.taken.append(connection)
        return connection, address


class Server:
    """Answers on 127.0.0.1 between :meth:`come` and :meth:`leave`."""

    def __init__(self, handler: type[BaseHTTPRequestHandler]) -> None:
        self._handler = handler
        self._running: _Server | None = None
        self.port = 0

    def come(self) -> None:
        self._running = _Server(self.port, self._handler)
        self.port = self._running.server_port
        threading.Thread(target=self._running.serve_forever, args=(0.02,), daemon=True).start()

    def leave(self) -> None:
        """Refuses connections from now on and cuts those that are open."""
        if self._running is None:
            return
        self._running.shutdown()
        self._running.server_close()
        for connection in self._running.taken:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._running = None


class Bucket:
    """One bucket: what a client that streams, reads, lists and deletes asks of S3."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.parts: dict[str, dict[int, bytes]] = {}
        self.asked: list[str] = []
        self.headers: list[str] = []
        self.before: Callable[[str], None] = lambda what: None
        """Called with what is asked (``PUT part``, ...) before it is done."""

    def handler(self) -> type[BaseHTTPRequestHandler]:
        bucket = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _serve(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                bucket.headers += [name.lower() for name in self.headers]
                address = urlsplit(self.path)
                query = {k: v[0] for k, v in parse_qs(address.query, keep_blank_values=True).items()}
                _, _, key = unquote(address.path).lstrip("/").partition("/")
                what = f"{self.command} {_kind(key, query)}"
                bucket.asked.append(what)
                bucket.before(what)
                status, answer, more = bucket.answer(what, key, query, body, self.headers.get("range", ""))
                self.send_response(status)
                for name, value in more.items():
                    self.send_header(name, value)
                length = more.get("x-length", str(len(answer)))
                self.send_header("content-length", length)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(answer)

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _serve

            def log_message(self, format: str, *args: Any) -> None: ...

        return Handler

    def answer(
        self, what: str, key: str, query: dict[str, str], body: bytes, span: str
    ) -> tuple[int, bytes, dict[str, str]]:
        tag = {"etag": f'"{hashlib.md5(body).hexdigest()}"'}
        if what == "POST upload":
            upload = f"upload-{len(self.parts)}-{len(self.asked)}"
            self.parts[upload] = {}
            return 200, _xml("InitiateMultipartUploadResult", f"<UploadId>{upload}</UploadId>"), {}
        if what == "PUT part":
            self.parts[query["uploadId"]][int(query["partNumber"])] = body
            return 200, b"", tag
        if what == "POST part":
            parts = self.parts.pop(query["uploadId"])
            self.objects[key] = b"".join(parts[number] for number in sorted(parts))
            return 200, _xml("CompleteMultipartUploadResult", f"<Key>{key}</Key>"), {}
        if what == "DELETE part":
            del self.parts[query["uploadId"]]
            return 204, b"", {}
        if what == "DELETE object":
            self.objects.pop(key, None)
            return 204, b"", {}
        if what == "PUT object":
            self.objects[key] = body
            return 200, b"", tag
        if what == "GET list":
            found = sorted(name for name in self.objects if name.startswith(query.get("prefix", "")))
            listed = "".join(
                f"<Contents><Key>{name}</Key><LastModified>{WHEN}</LastModified></Contents>" for name in found
            )
            return 200, _xml("ListBucketResult", f"<IsTruncated>false</IsTruncated>{listed}"), {}
        if key not in self.objects:
            return 404, _xml("Error", "<Code>NoSuchKey</Code>"), {}
        content = self.objects[key]
        more = {"last-modified": "Tue, 01 Jan 2030 09:00:00 GMT", "etag": '"x"'}
        if what == "HEAD object":
            return 200, b"", more | {"x-length": str(len(content))}
        if match := re.fullmatch(r"bytes=(\d+)-(\d*)", span):
            first, last = int(match[1]), int(match[2] or len(content) - 1)
            more["content-range"] = f"bytes {first}-{last}/{len(content)}"
            return 206, content[first : last + 1], more
        return 200, content, more


def _kind(key: str, query: dict[str, str]) -> str:
    if not key:
        return "list"
    if "uploads" in query:
        return "upload"
    return "part" if "uploadId" in query else "object"


def _xml(name: str, inner: str) -> bytes:
    return XML.format(name, inner).encode()
