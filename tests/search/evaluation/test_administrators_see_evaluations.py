"""Administrators upload questions, run them, and look at runs, their trend and each question; members do not."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from inference.runtime import Runtime
from ingestion.evaluating import IngestionPublisher
from search.evaluation import jobs
from search.evaluation.models import EvaluationQuestion, EvaluationResult, EvaluationRun
from tenants.models import Organization
from tenants.scope import tenant_scope
from tests.search.library import add_document

pytestmark = pytest.mark.django_db
FILE = (
    "question,answers,answerable,documents\n"
    "What is the capital of Norway?,Oslo,yes,Capitals\n"
    "Who painted the ceiling of the Tiber?,,no,\n"
)


def upload(client: Client, content: str = FILE, **fields: Any) -> str:
    file = SimpleUploadedFile("q.csv", content.encode())
    return client.post(
        "/o/acme/evaluation/questions/upload", {"file": file, **fields}, follow=True
    ).content.decode()


@pytest.fixture
def capitals(acme: Organization, models: Runtime) -> None:
    add_document(acme, "Capitals", "Oslo is the capital of Norway.", embedder=models.embedder)


def run_now(client: Client, models: Runtime, publisher: IngestionPublisher) -> EvaluationRun:
    client.post("/o/acme/evaluation/run")
    run = jobs.claim_next()
    assert run is not None
    run.options["threads"] = 1
    return jobs.work(run, models=models, publisher=publisher)


def test_questions_are_uploaded_and_asked_of_the_own_documents(
    acme: Organization, capitals: None, alice_client: Client, models: Runtime, publisher: IngestionPublisher
) -> None:
    assert "2 questions were added." in upload(alice_client)
    run = run_now(alice_client, models, publisher)
    assert (run.status, run.error, run.total) == ("done", "", 2)
    assert run.metrics["recall@10"] == 1.0
    assert run.metrics["refusal_f1"] == 1.0
    assert run.created_by is not None
    page = alice_client.get("/o/acme/evaluation/").content.decode()
    assert f"/o/acme/evaluation/runs/{run.id}/" in page
    assert "scripted" in page
    drill = alice_client.get(f"/o/acme/evaluation/runs/{run.id}/1/").content.decode()
    for part in (
        "What is the capital of Norway?",
        "Oslo is the capital of Norway",
        "Capitals, page 1",
        "min_similarity",
    ):
        assert part in drill
    assert 'href="/o/acme/documents/' in drill


def test_a_trend_needs_two_runs(
    acme: Organization, capitals: None, alice_client: Client, models: Runtime, publisher: IngestionPublisher
) -> None:
    upload(alice_client)
    run_now(alice_client, models, publisher)
    assert "<svg" not in alice_client.get("/o/acme/evaluation/").content.decode().partition("<main")[2].partition("<table")[0].replace('<svg class="icon', "")  # fmt: skip
    run_now(alice_client, models, publisher)
    page = alice_client.get("/o/acme/evaluation/").content.decode()
    assert 'aria-label="Metrics of 2 runs.' in page
    assert page.count("<polyline") == 5


def test_results_are_filtered_by_what_went_wrong(acme: Organization, alice_client: Client) -> None:
    rows: list[dict[str, Any]] = [
        {"question": "right", "answerable": True, "status": "answered", "metrics": {"token_f1": 0.9, "citation_recall": 1.0}},
        {"question": "bad", "answerable": True, "status": "answered", "metrics": {"token_f1": 0.1, "citation_recall": 1.0}},
        {"question": "made up", "answerable": False, "status": "answered", "metrics": {}},
        {"question": "timid", "answerable": True, "status": "not_found", "metrics": {"citation_recall": 0.0}},
        {"question": "bare", "answerable": True, "status": "answered", "metrics": {"token_f1": 0.9, "citation_recall": 0.5}},
    ]  # fmt: skip
    with tenant_scope(acme):
        run = EvaluationRun.objects.create(suite="own questions", status="done")
        for number, row in enumerate(rows, 1):
            EvaluationResult.objects.create(run=run, number=number, key=str(number), **row)

    def shown(show: str) -> list[str]:
        page = alice_client.get(f"/o/acme/evaluation/runs/{run.id}/", {"show": show})
        return [each["row"].question for each in page.context["results"]]

    assert shown("wrong") == ["bad", "made up"]
    assert shown("refused") == ["timid"]
    assert shown("uncited") == ["bare"]
    assert len(shown("all")) == len(shown("nonsense")) == 5


def test_a_file_that_cannot_be_used_is_refused_in_words(acme: Organization, alice_client: Client) -> None:
    assert "Line 2: there is no document" in upload(alice_client, "question,documents\nx,Nothing\n")
    with tenant_scope(acme):
        assert not EvaluationQuestion.objects.exists()


def test_a_second_run_waits_for_the_first(acme: Organization, alice_client: Client) -> None:
    upload(alice_client, "question\nWhat?\n")
    alice_client.post("/o/acme/evaluation/run")
    page = alice_client.post("/o/acme/evaluation/run", follow=True).content.decode()
    assert "A run is under way." in page
    with tenant_scope(acme):
        assert EvaluationRun.objects.count() == 1


def test_members_see_nothing_of_it(acme: Organization, bob_client: Client) -> None:
    for path in ("evaluation/", "evaluation/questions/", "feedback/"):
        assert bob_client.get(f"/o/acme/{path}").status_code == 403
    assert bob_client.post("/o/acme/evaluation/run").status_code == 403
    assert bob_client.post("/o/acme/evaluation/questions/upload").status_code == 403
    assert "Evaluation" not in bob_client.get("/o/acme/settings/").content.decode()


def test_the_api_tells_runs_to_those_who_may_write(
    acme: Organization,
    capitals: None,
    alice_client: Client,
    models: Runtime,
    publisher: IngestionPublisher,
    api: Any,
) -> None:
    upload(alice_client)
    run = run_now(alice_client, models, publisher)
    assert api(acme, "read").get("/api/v1/evaluation/runs").status_code == 403
    client = api(acme, "write")
    (listed,) = client.get("/api/v1/evaluation/runs").json()["results"]
    assert (listed["id"], listed["status"]) == (str(run.id), "done")
    assert listed["metrics"]["recall@10"] == 1.0
    detail = client.get(f"/api/v1/evaluation/runs/{run.id}").json()
    results = client.get(f"/api/v1/evaluation/runs/{run.id}/results").json()["results"]
    assert [row["status"] for row in results] == ["answered", "not_found"]
    assert detail["configuration"]["settings"]["min_similarity"] == "0.2"
