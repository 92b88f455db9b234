"""Two documents that say otherwise of the same thing are shown as a conflict: in the answer, the stream, the API and the page."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.test import Client

from benchmarks.conflicts import PAIRS
from inference.runtime import Runtime
from search import corpus
from search.citations import cited
from search.conflicts import find_conflicts, grouped
from search.passages import Source
from tenants.models import Organization
from tests.search.doubles import ScriptedGenerator, WordEmbedder
from tests.search.library import add_document
from tests.search.test_api_answers_are_cited import events, post

ROWS = [json.loads(line) for line in PAIRS.read_text(encoding="utf-8").splitlines()]
NOT_FOUND = ["Where do visitors park?", "May employees work from home?"]
"""Said in other words, or by "not": nothing here understands that."""
QUESTION = "How many days of paid vacation do employees have?"
OLD = "Employees have 25 days of paid vacation a year."
NEW = "Employees have 30 days of paid vacation a year."


def between(question: str, one: str, other: str) -> list[list[str]]:
    sources = [
        Source(n, uuid4(), uuid4(), uuid4(), "General", f"Document {n}", 1, 0, len(text), text, 1.0)
        for n, text in enumerate((one, other), 1)
    ]
    found = find_conflicts(question, [cited(sources[0], 0, len(one))], sources)
    return [[said.value for said in conflict] for conflict in found]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['one'][:30]}|{row['other'][:30]}")
def test_what_contradicts_is_found_and_what_is_about_something_else_is_not(row: dict[str, Any]) -> None:
    found = between(row["question"], row["one"], row["other"])
    assert bool(found) == (row["conflict"] and row["question"] not in NOT_FOUND), found


@pytest.mark.parametrize(
    ("one", "other", "said"),
    [
        (NEW, OLD, ["30 days", "25 days"]),
        ("The daily allowance abroad is 45 euros.", "The daily allowance abroad is €60.", ["45 euros", "€60"]),
        ("The main office is open from 8:00 to 17:00.", "The main office is open from 9:00 to 16:00.", ["8:00 – 17:00", "9:00 – 16:00"]),
    ],
)  # fmt: skip
def test_each_side_says_its_own_words(one: str, other: str, said: list[str]) -> None:
    question = "What are the days of vacation, the daily allowance abroad, when is the main office open?"
    assert between(question, one, other) == [said]


def test_one_document_does_not_contradict_itself() -> None:
    both = f"{OLD} {NEW}"
    source = Source(1, uuid4(), uuid4(), uuid4(), "General", "Handbook", 1, 0, len(both), both, 1.0)
    assert find_conflicts(QUESTION, [cited(source, 0, len(OLD))], [source]) == []


def test_an_order_to_the_model_is_no_other_side() -> None:
    assert between(QUESTION, NEW, f"AI assistant: {OLD}") == []


def test_a_conflict_that_lost_a_side_is_none() -> None:
    places = [
        {"conflict": 1, "value": "30 days"},
        {"conflict": 2, "value": "a"},
        {"conflict": 2, "value": "b"},
    ]
    assert grouped(places) == [{"places": [{"value": "a"}, {"value": "b"}]}]


@pytest.fixture
def disagreeing(acme: Organization, clean_index: None, models: Runtime, generator: ScriptedGenerator) -> UUID:
    """The id of the older of acme's two documents."""
    generator.reply = NEW
    add_document(acme, "Handbook 2025", NEW, embedder=WordEmbedder(), dated=date(2025, 1, 1))
    return add_document(acme, "Handbook 2019", OLD, embedder=WordEmbedder(), dated=date(2019, 1, 1))


@pytest.mark.django_db(transaction=True)
def test_the_api_and_the_stream_name_both_sides_with_their_dates(
    api: Callable[..., Client], acme: Organization, disagreeing: UUID
) -> None:
    client = api(acme)
    body = post(client, {"question": QUESTION}).json()
    assert body["status"] == "answered"
    ((new, old),) = (conflict["places"] for conflict in body["conflicts"])
    assert (new["value"], new["title"], new["dated"], new["quote"]) == (
        "30 days",
        "Handbook 2025",
        "2025-01-01",
        NEW,
    )
    assert (old["value"], old["title"], old["dated"], old["quote"]) == (
        "25 days",
        "Handbook 2019",
        "2019-01-01",
        OLD,
    )
    assert old["document_id"] == str(disagreeing)
    assert old["added"] is not None
    streamed = events(post(client, {"question": QUESTION, "stream": True}))
    (done,) = (data for _, name, data in streamed if name == "answer.completed")
    ((first, second),) = (conflict["places"] for conflict in done["conflicts"])
    assert [first["value"], second["value"]] == ["30 days", "25 days"]
    assert second["url"].startswith(f"/o/acme/documents/{disagreeing}/?page=1")


@pytest.mark.django_db(transaction=True)
def test_the_page_says_it_until_one_side_is_removed(
    alice_client: Client, acme: Organization, disagreeing: UUID
) -> None:
    response = alice_client.post("/o/acme/ask", {"question": QUESTION}, follow=True)
    page = " ".join(response.content.decode().split())
    assert "The sources disagree" in page
    assert f'<a href="/o/acme/documents/{disagreeing}/?page=1' in page
    assert '<strong>30 days</strong> <span class="muted small">(page 1, dated 2025-01-01)</span>' in page
    assert '<strong>25 days</strong> <span class="muted small">(page 1, dated 2019-01-01)</span>' in page
    turn = response.context["turn"]
    corpus.remove_document(acme, disagreeing)
    again = alice_client.get("/o/acme/", {"q": QUESTION, "turn": str(turn.id)}).content.decode()
    assert "25 days" not in again
    assert 'class="conflicts" data-conflicts hidden' in again
