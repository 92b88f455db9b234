"""A test double of a Qdrant server: qdrant-client's own in-memory mode behind the REST calls that the product makes.

It lets the processes of an installation share vectors where no Qdrant server runs. It is no Qdrant server, and a test
that passes with it says nothing about one. ``python -m tests.production.qdrant_double PORT KEY``.
"""

from __future__ import annotations

import json
import re
import sys
import threading
import warnings
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from pydantic import TypeAdapter
from qdrant_client import QdrantClient, models

Json = dict[str, Any]
Answer = Callable[["QdrantDouble", str, Json], Any]

SELECTOR: TypeAdapter[Any] = TypeAdapter(models.PointsSelector)
APPLIED = {"operation_id": 1, "status": "completed"}


class QdrantDouble:
    """The collections, and what each call does to them. One call at a time: the in-memory mode has no locks."""

    def __init__(self) -> None:
        self.client = QdrantClient(":memory:")
        self.lock = threading.Lock()

    def collections(self, _: str, body: Json) -> Any:
        return self.client.get_collections().model_dump(mode="json")

    def exists(self, name: str, body: Json) -> Any:
        return {"exists": self.client.collection_exists(name)}

    def create(self, name: str, body: Json) -> Any:
        asked = models.CreateCollection.model_validate(body)
        return self.client.create_collection(
            name,
            vectors_config=asked.vectors,
            sparse_vectors_config=asked.sparse_vectors,
            metadata=asked.metadata,
        )

    def info(self, name: str, body: Json) -> Any:
        return self.client.get_collection(name).model_dump(mode="json")

    def drop(self, name: str, body: Json) -> Any:
        return self.client.delete_collection(name)

    def index(self, name: str, body: Json) -> Any:
        """The in-memory mode filters without payload indexes."""
        return APPLIED

    def upsert(self, name: str, body: Json) -> Any:
        points = [models.PointStruct.model_validate(point) for point in body["points"]]
        self.client.upsert(name, points=points)
        return APPLIED

    def delete(self, name: str, body: Json) -> Any:
        self.client.delete(name, points_selector=SELECTOR.validate_python(body))
        return APPLIED

    def query(self, name: str, body: Json) -> Any:
        asked = models.QueryRequest.model_validate(body)
        found = self.client.query_points(
            name,
            prefetch=asked.prefetch,
            query=asked.query,
            query_filter=asked.filter,
            limit=asked.limit or 10,
            with_payload=asked.with_payload or False,
            with_vectors=asked.with_vector or False,
        )
        return {"points": [{**point.model_dump(mode="json"), "version": 1} for point in found.points]}

    def count(self, name: str, body: Json) -> Any:
        return self.client.count(name).model_dump(mode="json")

    def scroll(self, name: str, body: Json) -> Any:
        asked = models.ScrollRequest.model_validate(body)
        points, following = self.client.scroll(
            name,
            offset=asked.offset,
            limit=asked.limit or 10,
            with_payload=asked.with_payload or False,
            with_vectors=asked.with_vector or False,
        )
        return {"points": [p.model_dump(mode="json") for p in points], "next_page_offset": following}

    def retrieve(self, name: str, body: Json) -> Any:
        asked = models.PointRequest.model_validate(body)
        found = self.client.retrieve(
            name, asked.ids, with_payload=asked.with_payload or False, with_vectors=asked.with_vector or False
        )
        return [record.model_dump(mode="json") for record in found]


ROUTES: list[tuple[str, str, Answer]] = [
    ("GET", r"/collections", QdrantDouble.collections),
    ("GET", r"/collections/([^/]+)/exists", QdrantDouble.exists),
    ("PUT", r"/collections/([^/]+)", QdrantDouble.create),
    ("GET", r"/collections/([^/]+)", QdrantDouble.info),
    ("DELETE", r"/collections/([^/]+)", QdrantDouble.drop),
    ("PUT", r"/collections/([^/]+)/index", QdrantDouble.index),
    ("PUT", r"/collections/([^/]+)/points", QdrantDouble.upsert),
    ("POST", r"/collections/([^/]+)/points", QdrantDouble.retrieve),
    ("POST", r"/collections/([^/]+)/points/delete", QdrantDouble.delete),
    ("POST", r"/collections/([^/]+)/points/query", QdrantDouble.query),
    ("POST", r"/collections/([^/]+)/points/count", QdrantDouble.count),
    ("POST", r"/collections/([^/]+)/points/scroll", QdrantDouble.scroll),
]


def handler(double: QdrantDouble, key: str) -> type[BaseHTTPRequestHandler]:
    """Answers from ``double``; a request without ``key`` gets 401, as from the server."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            raw = self.rfile.read(int(self.headers.get("content-length") or 0))
            if self.headers.get("api-key") != key:
                self._answer(401, {"status": {"error": "Must provide an API key"}})
                return
            path = urlsplit(self.path).path
            for method, pattern, act in ROUTES:
                match = re.fullmatch(pattern, path)
                if match and method == self.command:
                    self._act(act, match.groups()[0] if match.groups() else "", json.loads(raw or b"{}"))
                    return
            self._answer(501, {"status": {"error": f"the double does not know {self.command} {path}"}})

        def _act(self, act: Answer, name: str, body: Json) -> None:
            try:
                with double.lock:
                    result = act(double, name, body)
            except ValueError as error:
                self._answer(404, {"status": {"error": str(error)}})
                return
            self._answer(200, {"result": result, "status": "ok", "time": 0.0})

        def _answer(self, status: int, body: Json) -> None:
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_PUT = do_POST = do_DELETE = _serve

        def log_message(self, format: str, *args: Any) -> None: ...

    return Handler


def serve(port: int, key: str) -> None:
    """Answers on 127.0.0.1 until the process ends."""
    warnings.simplefilter("ignore")
    ThreadingHTTPServer(("127.0.0.1", port), handler(QdrantDouble(), key)).serve_forever()


if __name__ == "__main__":
    serve(int(sys.argv[1]), sys.argv[2])
