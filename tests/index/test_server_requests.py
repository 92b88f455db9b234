"""What goes over the wire to a Qdrant server, request by request. The answers are canned, no server runs."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from search.index.base import IndexFilter
from search.index.errors import IndexFailure, IndexMismatch, LocalModeRefused
from search.index.server import ServerIndex, connect
from search.index.sparse import Bm25Encoder
from tests.index.points import CONTRACTS, DIMENSION, MANUALS, point, unit

INFO: dict[str, Any] = {
    "status": "green",
    "optimizer_status": "ok",
    "segments_count": 1,
    "config": {
        "params": {
            "vectors": {"dense": {"size": DIMENSION, "distance": "Dot"}},
            "sparse_vectors": {"bm25": {"modifier": "idf"}},
        },
        "hnsw_config": {"m": 16, "ef_construct": 100, "full_scan_threshold": 10000},
        "optimizer_config": {
            "deleted_threshold": 0.2,
            "vacuum_min_vector_number": 1000,
            "default_segment_number": 0,
            "flush_interval_sec": 5,
        },
        "metadata": {"layout": 1, "average_length": 77.0},
    },
    "payload_schema": {},
}


class Wire:
    """Records each request as ``(method, path and query, body)`` and answers like a server would."""

    def __init__(self, *, exists: bool = True) -> None:
        self.exists = exists
        self.info = INFO
        self.requests: list[tuple[str, str, Any]] = []
        self.keys: set[str | None] = set()

    def __call__(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content) if request.content else None
        self.requests.append((request.method, request.url.raw_path.decode(), body))
        self.keys.add(request.headers.get("api-key"))
        return httpx.Response(200, json={"result": self._answer(request), "status": "ok", "time": 0.0})

    def _answer(self, request: httpx.Request) -> Any:
        path = request.url.path
        if path.endswith("/exists"):
            return {"exists": self.exists}
        if path.endswith("/points/query"):
            return {"points": [{"id": str(point(3).id), "version": 1, "score": 1.25}]}
        if path.endswith("/points/count"):
            return {"count": 12}
        if path.endswith("/points/scroll"):
            return {"points": [{"id": str(point(3).id)}], "next_page_offset": None}
        if path.count("/") == 2 and request.method == "GET":
            return self.info
        if path.count("/") == 2 or request.method == "DELETE":
            return True
        return {"operation_id": 1, "status": "completed"}


def opened(wire: Wire) -> ServerIndex:
    client = connect("https://qdrant.example:6333", "the-key", transport=httpx.MockTransport(wire))
    index = ServerIndex(client, "7", dimension=DIMENSION, average_length=50.0)
    index.ensure()
    return index


def test_a_new_organisation_gets_a_collection_of_its_own() -> None:
    wire = Wire(exists=False)
    opened(wire)
    index_path = "/collections/tessera_7/index?wait=true"
    assert wire.requests == [
        ("GET", "/collections/tessera_7/exists", None),
        (
            "PUT",
            "/collections/tessera_7",
            {
                "vectors": {"dense": {"size": DIMENSION, "distance": "Dot"}},
                "sparse_vectors": {"bm25": {"modifier": "idf"}},
                "metadata": {"layout": 1, "payload": 2, "average_length": 50.0},
            },
        ),
        ("PUT", index_path, {"field_name": "collection", "field_schema": "uuid"}),
        ("PUT", index_path, {"field_name": "document", "field_schema": "uuid"}),
        ("PUT", index_path, {"field_name": "version", "field_schema": "uuid"}),
        ("PUT", index_path, {"field_name": "media_type", "field_schema": "keyword"}),
        ("PUT", index_path, {"field_name": "author", "field_schema": "keyword"}),
        ("PUT", index_path, {"field_name": "language", "field_schema": "keyword"}),
        (
            "PUT",
            index_path,
            {"field_name": "dated", "field_schema": {"type": "integer", "lookup": False, "range": True}},
        ),
        ("GET", "/collections/tessera_7", None),
    ]
    assert wire.keys == {"the-key"}


def test_an_existing_collection_keeps_its_mean_length() -> None:
    wire = Wire()
    index = opened(wire)
    assert [method for method, _, _ in wire.requests] == ["GET", "GET"]
    assert index.average_length == 77.0


def test_a_query_fuses_both_vectors_under_one_filter() -> None:
    wire = Wire()
    index = opened(wire)
    wire.requests.clear()
    document = point(1).document_id
    filter = IndexFilter(
        collection_ids=(CONTRACTS, MANUALS),
        document_ids=(document,),
        media_types=("application/pdf",),
        dated_from=10,
        dated_to=20,
        dated_in=((1, 5), (8, 12)),
    )
    matches = index.query(text="old valve QX-7741", dense=unit(1), filter=filter, limit=7)
    condition = {
        "must": [
            {"key": "collection", "match": {"any": [str(CONTRACTS), str(MANUALS)]}},
            {"key": "document", "match": {"any": [str(document)]}},
            {"key": "media_type", "match": {"any": ["application/pdf"]}},
            {"key": "dated", "range": {"gte": 10.0, "lte": 20.0}},
            {
                "should": [
                    {"key": "dated", "range": {"gte": 1.0, "lte": 5.0}},
                    {"key": "dated", "range": {"gte": 8.0, "lte": 12.0}},
                ]
            },
        ]
    }
    terms, exact = (Bm25Encoder(77.0).query(text) for text in ("old valve QX-7741", "QX-7741"))
    assert len(exact.indices) < len(terms.indices)
    [(method, path, body)] = wire.requests
    assert (method, path) == ("POST", "/collections/tessera_7/points/query")
    assert body == {
        "prefetch": [
            {"query": unit(1).tolist(), "using": "dense", "filter": condition, "limit": 400},
            *(
                {
                    "query": {"indices": asked.indices, "values": asked.values},
                    "using": "bm25",
                    "filter": condition,
                    "limit": 400,
                }
                for asked in (terms, exact)
            ),
        ],
        "query": {"fusion": "dbsf"},
        "filter": condition,
        "limit": 7,
        "with_payload": False,
        "with_vector": False,
    }
    assert [(match.id, match.score) for match in matches] == [(point(3).id, 1.25)]


def test_a_query_without_a_vector_asks_for_words_alone() -> None:
    wire = Wire()
    index = opened(wire)
    wire.requests.clear()
    everything = IndexFilter(collection_ids=(CONTRACTS,))
    index.query(text="old red valve", dense=None, filter=everything, limit=7)
    [(_, _, body)] = wire.requests
    assert [each["using"] for each in body["prefetch"]] == ["bm25"]
    assert index.query(text="the", dense=None, filter=everything, limit=7) == []
    assert len(wire.requests) == 1


def test_nothing_readable_sends_nothing() -> None:
    wire = Wire()
    index = opened(wire)
    wire.requests.clear()
    assert index.query(text="valve", dense=unit(1), filter=IndexFilter(collection_ids=()), limit=7) == []
    assert wire.requests == []


def test_a_point_carries_its_vectors_and_what_filters_read() -> None:
    wire = Wire()
    index = opened(wire)
    wire.requests.clear()
    new = point(1, "pump", dated=19_000)
    index.upsert([new])
    terms = Bm25Encoder(77.0).passage("pump")
    assert wire.requests == [
        (
            "PUT",
            "/collections/tessera_7/points?wait=true",
            {
                "points": [
                    {
                        "id": str(new.id),
                        "vector": {
                            "dense": unit(1).tolist(),
                            "bm25": {"indices": terms.indices, "values": terms.values},
                        },
                        "payload": {
                            "collection": str(CONTRACTS),
                            "document": str(new.document_id),
                            "version": str(new.version_id),
                            "media_type": "application/pdf",
                            "dated": 19_000,
                        },
                    }
                ]
            },
        )
    ]


def test_many_points_go_in_small_batches() -> None:
    wire = Wire()
    index = opened(wire)
    wire.requests.clear()
    index.upsert([point(seed, "pump") for seed in range(600)])
    assert [len(body["points"]) for _, _, body in wire.requests] == [256, 256, 88]


def test_deletions_name_points_or_one_field() -> None:
    wire = Wire()
    index = opened(wire)
    wire.requests.clear()
    gone = point(1)
    index.delete([gone.id])
    index.delete_document(gone.document_id)
    index.delete_version(gone.version_id)
    index.drop()
    path = "/collections/tessera_7/points/delete?wait=true"
    assert wire.requests == [
        ("POST", path, {"points": [str(gone.id)]}),
        (
            "POST",
            path,
            {"filter": {"must": [{"key": "document", "match": {"value": str(gone.document_id)}}]}},
        ),
        ("POST", path, {"filter": {"must": [{"key": "version", "match": {"value": str(gone.version_id)}}]}}),
        ("DELETE", "/collections/tessera_7", None),
    ]


def test_a_collection_for_other_vectors_is_refused() -> None:
    wire = Wire()
    wire.info = json.loads(json.dumps(INFO).replace(f'"size": {DIMENSION}', '"size": 5'))
    with pytest.raises(IndexMismatch, match="5 dimensions"):
        opened(wire)


def test_a_server_that_fails_is_an_error_with_a_hint() -> None:
    def broken(request: httpx.Request) -> httpx.Response:
        return httpx.Response(500, json={"status": {"error": "disk full"}})

    client = connect("http://qdrant.example", transport=httpx.MockTransport(broken))
    with pytest.raises(IndexFailure, match="disk full") as failure:
        ServerIndex(client, "7", dimension=DIMENSION).ensure()
    assert "TESSERA_QDRANT_URL" in failure.value.hint


@pytest.mark.parametrize(
    "url", [":memory:", "/var/qdrant", "qdrant:6333", "", "file:///var/qdrant", "http://"]
)
def test_anything_but_a_server_is_refused(url: str) -> None:
    with pytest.raises(LocalModeRefused, match="not the address") as refused:
        connect(url)
    assert "http://host:6333" in refused.value.hint


def test_a_query_over_every_collection_carries_no_filter() -> None:
    wire = Wire()
    index = opened(wire)
    everything = IndexFilter(collection_ids=(CONTRACTS,), other_collection_ids=())
    index.query(text="valve", dense=unit(1), filter=everything, limit=7)
    method, path, asked = wire.requests[-1]
    assert (method, path.partition("?")[0]) == ("POST", "/collections/tessera_7/points/query")
    assert asked.get("filter") is None
    assert all(prefetch.get("filter") is None for prefetch in asked["prefetch"])
