"""The operator's pages of public suites: what they show, to whom, and that they show no organisation of people."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from search.evaluation.models import EvaluationRun
from tenants.models import Organization
from tests.search.evaluation.rows import REFUSED, WRONG, add_run

pytestmark = pytest.mark.django_db
PAGE = "/admin/evaluations/"
DAY = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.fixture
def operator(signed_in: Any) -> Client:
    client: Client = signed_in(User.objects.create_user("operator", is_staff=True))
    return client


@pytest.fixture
def suite() -> Organization:
    return Organization.objects.create(slug="evaluation-squad2", name="Evaluation: squad2", is_internal=True)


@pytest.fixture
def runs(suite: Organization) -> list[EvaluationRun]:
    passage = {"name": "oslo", "title": "Oslo", "page": 1, "text": "Oslo is a capital.", "similarity": 0.7}
    return [
        add_run(
            suite, WRONG, {"passages": [passage]}, REFUSED, suite="squad2", model=f"model-{n}",
            metrics={"questions": 3, "token_f1": f1}, created_at=DAY + timedelta(days=n),
        )
        for n, f1 in enumerate((0.5, 0.62))
    ]  # fmt: skip


def test_it_lists_suites_with_their_newest_metrics_change_and_trend(
    operator: Client, runs: list[EvaluationRun], acme: Organization
) -> None:
    Organization.objects.create(slug="evaluation-empty", name="Evaluation: empty", is_internal=True)
    add_run(acme, {}, suite="of-acme")
    page = operator.get(PAGE)
    empty, seen = page.context["suites"]
    assert (empty["name"], empty["newest"]) == ("Evaluation: empty", None)
    assert (seen["newest"], seen["metrics"]) == (runs[1], [("Answer F1", "0.62", "+0.12")])
    text = page.content.decode()
    assert "Metrics of 2 runs" in text
    assert f"{PAGE}evaluation-squad2/runs/{runs[1].id}/" in text
    assert "acme" not in text.lower()
    assert page["Cache-Control"] == "no-store"


def test_from_a_suite_one_comes_to_its_runs_questions_and_comparisons(
    operator: Client, runs: list[EvaluationRun]
) -> None:
    home = f"{PAGE}evaluation-squad2/"
    text = operator.get(home).content.decode()
    assert f"{home}runs/{runs[0].id}/" in text
    assert f"{home}compare" in text
    run = operator.get(f"{home}runs/{runs[1].id}/?show=refused")
    assert [each["row"].number for each in run.context["results"]] == [3]
    assert f"{home}runs/{runs[1].id}/3/" in run.content.decode()
    question = operator.get(f"{home}runs/{runs[1].id}/2/").content.decode()
    for part in ("Question 2?", "Answer 2 [1].", "Oslo is a capital.", f"{home}runs/{runs[1].id}/"):
        assert part in question
    assert "/o/" not in question
    compared = operator.get(f"{home}compare")
    assert (compared.context["before"], compared.context["after"]) == (runs[0], runs[1])
    assert "model-0" in compared.content.decode()


def test_many_questions_come_in_pages(operator: Client, suite: Organization) -> None:
    run = add_run(suite, *[{}] * 201)
    address = f"{PAGE}{suite.slug}/runs/{run.id}/"
    page = operator.get(address)
    assert (len(page.context["results"]), page.context["next"]) == (200, 200)
    rest = operator.get(address, {"after": 200})
    assert [each["row"].number for each in rest.context["results"]] == [201]
    assert rest.context["next"] is None
    assert len(operator.get(address, {"after": "9" * 40}).context["results"]) == 200


def test_an_organisation_of_people_has_none_of_these_pages(
    operator: Client, runs: list[EvaluationRun], acme: Organization
) -> None:
    own = add_run(acme, {}, {})
    for path in ("acme/", "acme/compare", f"acme/runs/{own.id}/", f"acme/runs/{own.id}/1/"):
        assert operator.get(PAGE + path).status_code == 404, path
    for path in (f"runs/{own.id}/", f"runs/{own.id}/1/", f"compare?before={own.id}&after={runs[0].id}"):
        assert operator.get(f"{PAGE}evaluation-squad2/{path}").status_code == 404, path


def test_nobody_else_sees_them(runs: list[EvaluationRun], alice_client: Client, acme: Organization) -> None:
    home = f"{PAGE}evaluation-squad2/"
    for path in (
        PAGE,
        home,
        f"{home}compare",
        f"{home}runs/{runs[0].id}/",
        f"{home}runs/{runs[0].id}/1/",
        f"{PAGE}no/",
    ):
        for client in (Client(), alice_client):
            answer = client.get(path)
            assert answer.status_code == 302, path
            assert answer["Location"].startswith("/admin/login/?next="), path
    assert PAGE not in alice_client.get("/o/acme/settings/").content.decode()


def test_the_operators_other_pages_lead_there(operator: Client) -> None:
    for page in ("/admin/engine/", "/admin/queue/"):
        assert f'href="{PAGE}"' in operator.get(page).content.decode()


@pytest.mark.parametrize("path", [PAGE, f"{PAGE}evaluation-squad2/"])
def test_a_page_is_only_read(path: str, operator: Client, suite: Organization) -> None:
    assert operator.post(path).status_code == 405
