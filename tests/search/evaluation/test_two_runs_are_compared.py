"""Two runs beside each other: what differed, each metric, and which questions got better or worse."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from django.test import Client

from search.evaluation.comparing import comparison_page, differences
from search.evaluation.models import EvaluationRun
from tenants.models import Organization
from tests.search.evaluation.rows import REFUSED, UNCITED, WRONG, add_run

pytestmark = pytest.mark.django_db
REFUSES = {"answerable": False, "status": "not_found", "metrics": {"refused": 1.0}}
ANSWERS_THE_UNANSWERABLE = {"answerable": False, "metrics": {"refused": 0.0}}


def asked(before: EvaluationRun, after: EvaluationRun, **query: str) -> dict[str, Any]:
    return comparison_page(before.organization, {"before": str(before.id), "after": str(after.id), **query})


def names(rows: list[dict[str, Any]]) -> list[str]:
    return [row["question"] for row in rows]


def test_questions_that_moved_are_told_the_largest_first(acme: Organization) -> None:
    nearly = {"metrics": {"token_f1": 0.95, "citation_recall": 1.0}}
    before = add_run(acme, WRONG, {}, {}, REFUSED, REFUSES, {})
    after = add_run(acme, {}, REFUSED, WRONG, {}, ANSWERS_THE_UNANSWERABLE, nearly)
    found = asked(before, after)
    assert names(found["better"]) == ["Question 4?", "Question 1?"]
    assert names(found["worse"]) == ["Question 2?", "Question 5?", "Question 3?"]
    assert (found["alike"], found["both"], found["alone"]) == (1, 6, 0)
    (first, _) = found["better"]
    assert first["change"] == "+1.00"
    assert first["sides"] == [
        ("Before", "not_found", f"/o/acme/evaluation/runs/{before.id}/4/"),
        ("After", "answered", f"/o/acme/evaluation/runs/{after.id}/4/"),
    ]


def test_citations_and_documents_are_measures_of_their_own(acme: Organization) -> None:
    before = add_run(acme, UNCITED, {"metrics": {"ndcg@10": 1.0}, "status": "found"})
    after = add_run(acme, {}, {"metrics": {"ndcg@10": 0.5}, "status": "found"})
    assert names(asked(before, after)["better"]) == []
    assert names(asked(before, after, by="citations")["better"]) == ["Question 1?"]
    assert names(asked(before, after, by="ranking")["worse"]) == ["Question 2?"]
    assert [each[2:] for each in asked(before, after)["measures"]] == [(0, 0), (0, 1), (1, 0)]


def test_own_questions_are_told_by_their_words_and_those_of_a_suite_by_their_ids(acme: Organization) -> None:
    kept = {"key": "1", "question": "Kept?"}
    gone = {"key": "1", "question": "Gone?"}
    found = asked(add_run(acme, gone, kept | {"key": "2"}, WRONG), add_run(acme, kept | WRONG))
    assert (names(found["worse"]), found["both"], found["alone"]) == (["Kept?"], 1, 2)
    suite = Organization.objects.create(slug="evaluation-s", name="Evaluation: s", is_internal=True)
    twice = [{"key": "a", "question": "Same?"}, {"key": "b", "question": "Same?"}]
    found = asked(add_run(suite, *twice), add_run(suite, twice[1], twice[0] | WRONG))
    assert (names(found["worse"]), found["both"], found["alone"]) == (["Same?"], 2, 0)


def test_a_metric_of_which_less_is_better_gets_better_by_falling() -> None:
    before = {"questions": 4, "token_f1": 0.5, "latency_p50_s": 2.0, "failed": 0, "mrr@10": 0.3}
    after = {"questions": 5, "token_f1": 0.5001, "latency_p50_s": 1.0, "failed": 2, "ndcg@10": 0.2}
    told = {each.label: (each.change, each.verdict) for each in differences(before, after)}
    assert told == {
        "Questions": ("+1", ""), "Answer F1": ("", "same"), "Answer, median s": ("−1.000", "better"),
        "Failed": ("+2", "worse"), "MRR@10": ("", ""), "nDCG@10": ("", ""),
    }  # fmt: skip
    told = {
        each.label: (each.change, each.verdict) for each in differences({"token_f1": 0.5}, {"token_f1": 0.6})
    }
    assert told == {"Answer F1": ("+0.100", "better")}


def test_what_the_runs_were_made_with_is_told_where_it_differs(acme: Organization) -> None:
    def made(refuse_below: str) -> dict[str, Any]:
        return {
            "settings": {"refuse_below": refuse_below, "mode": "embedded"},
            "options": {"source": refuse_below, "split": "dev"},
            "code": "abc",
        }

    before = add_run(acme, {}, model="small", configuration=made("0.2"))
    after = add_run(acme, {}, model="large", configuration=made("0.3"))
    assert asked(before, after)["differs"] == [
        ("language model", "small", "large"),
        ("refuse_below", "0.2", "0.3"),
    ]


def test_the_page_takes_the_two_newest_runs_of_a_suite_and_lets_others_be_chosen(
    acme: Organization, alice_client: Client
) -> None:
    address = "/o/acme/evaluation/compare"
    assert "Two runs that have ended are needed." in alice_client.get(address).content.decode()
    first, second = add_run(acme, WRONG), add_run(acme, {})
    add_run(acme, {}, suite="another")
    third = add_run(acme, WRONG)
    add_run(acme, {}, status="failed")
    page = alice_client.get(address)
    assert (page.context["before"], page.context["after"]) == (second, third)
    assert "1 worse" in page.content.decode()
    page = alice_client.get(address, {"before": str(first.id), "after": str(second.id)})
    text = page.content.decode()
    assert "1 better" in text
    assert f"/o/acme/evaluation/runs/{second.id}/1/" in text
    assert f"before={first.id}&amp;after={second.id}" in alice_client.get(
        f"/o/acme/evaluation/runs/{second.id}/"
    ).content.decode().replace("&after", "&amp;after")


def test_runs_of_others_and_members_are_refused(
    acme: Organization, globex: Organization, alice_client: Client, bob_client: Client
) -> None:
    own, theirs = add_run(acme, {}), add_run(globex, {})
    address = "/o/acme/evaluation/compare"
    for other in (theirs.id, uuid.uuid4(), "x", ""):
        assert alice_client.get(address, {"before": str(own.id), "after": str(other)}).status_code == 404
    assert bob_client.get(address).status_code == 403
