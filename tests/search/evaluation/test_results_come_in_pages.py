"""``GET /evaluation/runs/{id}/results``: all questions of a run in order, a page at a time, or those that went wrong."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Callable

import pytest
from django.test import Client

from tenants.models import Organization
from tests.search.evaluation.rows import REFUSED, UNCITED, WRONG, add_run

pytestmark = pytest.mark.django_db


def path(run_id: object) -> str:
    return f"/api/v1/evaluation/runs/{run_id}/results"


@pytest.fixture
def client(acme: Organization, api: Callable[..., Client]) -> Client:
    return api(acme, "write")


def numbers(client: Client, address: str, **query: str) -> list[int]:
    answer = client.get(address, query)
    assert answer.status_code == 200, answer.content
    return [row["number"] for row in answer.json()["results"]]


def test_pages_hold_every_question_once_and_in_order(acme: Organization, client: Client) -> None:
    run = add_run(acme, *[{}] * 12)
    add_run(acme, {})
    seen: list[int] = []
    address: str | None = f"{path(run.id)}?page_size=5"
    pages = []
    while address:
        page = client.get(address).json()
        seen += [row["number"] for row in page["results"]]
        pages.append(len(page["results"]))
        address = page["next"]
    assert seen == list(range(1, 13))
    assert pages == [5, 5, 2]
    assert numbers(client, page["previous"]) == [6, 7, 8, 9, 10]


def test_a_result_says_what_was_known_answered_and_found(acme: Organization, client: Client) -> None:
    run = add_run(acme, {"answers": ["42"], "citations": [{"n": 1, "quote": "It is 42."}], "query": "what"})
    (row,) = client.get(path(run.id)).json()["results"]
    assert row == {
        "number": 1, "question": "Question 1?", "answerable": True, "answers": ["42"], "gold": [], "query": "what",
        "status": "answered", "answer": "Answer 1 [1].", "citations": [{"n": 1, "quote": "It is 42."}], "passages": [],
        "metrics": {"token_f1": 1.0, "citation_recall": 1.0}, "timings": {}, "error_code": "",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("show", "found"),
    [("all", [1, 2, 3, 4, 5]), ("wrong", [2, 5]), ("refused", [3]), ("uncited", [4])],
)
def test_show_narrows_as_the_page_does(
    show: str, found: list[int], acme: Organization, client: Client
) -> None:
    unanswerable = {"answerable": False, "metrics": {"refused": 0.0}}
    run = add_run(acme, {}, WRONG, REFUSED, UNCITED, unanswerable)
    assert numbers(client, path(run.id), show=show) == found


def test_a_show_that_is_none_and_a_cursor_that_no_page_gave_are_refused(
    acme: Organization, client: Client
) -> None:
    run = add_run(acme, {})
    for field, value in (
        ("show", "nice"),
        ("cursor", "p=x"),
        ("cursor", "p=2024-01-01"),
        ("cursor", "p=" + "9" * 30),
    ):
        sent = base64.b64encode(value.encode()).decode() if field == "cursor" else value
        answer = client.get(path(run.id), {field: sent})
        assert answer.status_code == 400, value
        assert list(answer.json()["error"]["detail"]) == [field]


def test_the_run_itself_brings_none_of_them(acme: Organization, client: Client) -> None:
    run = add_run(acme, {})
    assert "results" not in client.get(f"/api/v1/evaluation/runs/{run.id}").json()


def test_who_may_not_write_and_who_is_of_elsewhere_get_nothing(
    acme: Organization, globex: Organization, api: Callable[..., Client]
) -> None:
    run = add_run(acme, {})
    assert api(acme, "read").get(path(run.id)).status_code == 403
    assert api(globex, "write").get(path(run.id)).status_code == 404
    assert api(acme, "write").get(path(uuid.uuid4())).status_code == 404


def test_the_description_shows_pages_of_results_apart_from_those_of_a_search(client: Client) -> None:
    described = client.get("/api/schema/", headers={"Accept": "application/json"}).json()
    route = described["paths"]["/api/v1/evaluation/runs/{run_id}/results"]["get"]
    assert {each["name"] for each in route["parameters"]} >= {"run_id", "show", "cursor", "page_size"}
    parts = described["components"]["schemas"]
    results = parts["EvaluationResultPage"]["properties"]["results"]["items"]
    assert results == {"$ref": "#/components/schemas/EvaluationResult"}
    assert "passages" in parts["EvaluationResult"]["properties"]
    assert "document" in parts["Result"]["properties"]
