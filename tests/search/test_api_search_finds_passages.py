"""``POST /api/v1/search``: the passages with their places, and a 400 for what is no request (T39)."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from drf_spectacular.generators import SchemaGenerator

from inference import runtime
from tenants.models import Organization
from tests.search.conftest import Library
from tests.search.library import page_text

pytestmark = pytest.mark.django_db
Api = Callable[..., Client]
URL = "/api/v1/search"


def post(client: Client, body: Any, **more: Any) -> Any:
    data = body if isinstance(body, str) else json.dumps(body)
    return client.post(URL, data, content_type="application/json", **more)


def test_a_result_says_where_it_stands(api: Api, acme: Organization, library: Library) -> None:
    response = post(api(acme), {"query": "monthly tariff in euros", "limit": 1})
    assert response.status_code == 200
    text = "The monthly tariff is 20 euros. It starts in May 2024."
    (result,) = response.json()["results"]
    assert result.pop("score") > 0
    assert result == {
        "document": {"id": str(library.tariff), "title": "Tariff"},
        "page": 2,
        "is_paged": True,
        "place": "page 2",
        "text": text,
        "start": 0,
        "end": len(text),
        "collection": "General",
        "also_in": [],
        "more": [],
    }
    assert page_text(acme, library.tariff, 2)[: len(text)] == text


def test_filters_narrow_the_results(api: Api, acme: Organization, library: Library) -> None:
    query = "What do the tariff and the warranty cover in euros?"
    client = api(acme)

    def titles(**filters: Any) -> set[str]:
        found = post(client, {"query": query, "filters": filters}).json()["results"]
        return {result["document"]["title"] for result in found}

    assert titles() == {"Tariff", "Warranty"}
    assert titles(media_types=["text/plain"]) == {"Warranty"}
    assert titles(document_ids=[str(library.tariff)]) == {"Tariff"}
    assert titles(dated_from="2023-01-01") == {"Tariff"}
    assert titles(dated_to="2023-01-01") == {"Warranty"}
    assert titles(years=[2021, 2024]) == {"Tariff"}


def test_another_organisation_finds_nothing(api: Api, globex: Organization, library: Library) -> None:
    body = {"query": "monthly tariff in euros", "filters": {"document_ids": [str(library.tariff)]}}
    assert post(api(globex), body).json() == {"results": [], "corrected": None}


def test_a_key_without_the_scope_is_refused(api: Api, acme: Organization, library: Library) -> None:
    response = post(api(acme, "write"), {"query": "tariff"})
    assert response.status_code == 403
    assert response.json()["error"]["code"]


def test_nobody_is_refused(library: Library) -> None:
    assert post(Client(), {"query": "tariff"}).status_code == 401


@pytest.mark.parametrize(
    "body",
    [
        "",
        "{",
        "[]",
        '"x"',
        "null",
        {},
        {"query": ""},
        {"query": "   "},
        {"query": "a\x00b"},
        '{"query": "\\ud800"}',
        {"query": ["a"]},
        {"query": "x" * 4001},
        {"query": "x" * 1_000_000},
        {"query": "x", "limit": 0},
        {"query": "x", "limit": 51},
        {"query": "x", "limit": "many"},
        '{"query": "x", "limit": NaN}',
        {"query": "x", "filters": []},
        {"query": "x", "filters": {"organization": 1}},
        {"query": "x", "filters": {"media_types": "pdf"}},
        {"query": "x", "filters": {"media_types": ["a"] * 100_000}},
        {"query": "x", "filters": {"media_types": ["a"] * 101}},
        {"query": "x", "filters": {"collection_ids": ["1"]}},
        {"query": "x", "filters": {"dated_from": "yesterday"}},
        {"query": "x", "filters": {"years": [0]}},
        {"query": "x", "filters": {"authors": "Ada"}},
        {"query": "x", "filters": {"authors": ["a" * 301]}},
        {"query": "x", "filters": {"languages": ["a" * 9]}},
        '{"query": "x", "filters": ' + '{"and":' * 20_000 + "1" + "}" * 20_000 + "}",
        '{"query": "x", "filters": ' + "[" * 60_000 + "]" * 60_000 + "}",
    ],
    ids=lambda body: str(body)[:40],
)
def test_what_is_no_request_is_refused_at_once(
    api: Api, acme: Organization, library: Library, body: Any
) -> None:
    client = api(acme)
    began = time.monotonic()
    response = post(client, body)
    assert time.monotonic() - began < 2
    assert response.status_code == 400, response.content[:300]
    assert set(response.json()["error"]) == {"code", "message", "detail", "request_id"}


def test_while_models_load_it_says_when_to_come_back(api: Api, acme: Organization, library: Library) -> None:
    runtime.uninstall()
    response = post(api(acme), {"query": "tariff"})
    assert (response.status_code, response.json()["error"]["code"]) == (503, "not_ready")
    assert response.headers["Retry-After"]


def test_the_description_of_a_result_is_that_of_a_search() -> None:
    generator: Any = SchemaGenerator
    schemas = generator().get_schema(request=None, public=True)["components"]["schemas"]
    results = schemas["SearchResponse"]["properties"]["results"]["items"]["$ref"].rpartition("/")[2]
    assert {"document", "also_in", "more", "score"} <= set(schemas[results]["properties"])
    assert "gold" in schemas["EvaluationResult"]["properties"]
