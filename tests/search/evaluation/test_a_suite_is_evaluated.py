"""A suite is loaded as documents of its own, asked through the product, and scored; once loaded, it stays."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from inference.errors import NotReady
from inference.runtime import Runtime
from ingestion.evaluating import IngestionPublisher
from search.evaluation import jobs, suites
from search.evaluation.corpora import organization_of, prepare
from search.evaluation.models import EvaluationResult, EvaluationRun
from search.evaluation.suites import SuiteError
from search.models import Chunk, Document, Page
from search.reindex import audit
from search.retrieval import retrieve
from tenants.models import Membership, Organization
from tenants.scope import tenant_scope
from tests.search.doubles import ScriptedGenerator

pytestmark = pytest.mark.django_db


def run(folder: Path, models: Runtime, publisher: IngestionPublisher, **options: Any) -> EvaluationRun:
    asked = {"source": str(folder), "threads": 1, **options}
    begun = jobs.begin_here(organization_of(folder.name), suite=folder.name, options=asked)
    return jobs.work(begun, models=models, publisher=publisher)


def test_answers_and_rankings_are_scored(
    cities: Path, models: Runtime, publisher: IngestionPublisher
) -> None:
    done = run(cities, models, publisher)
    assert (done.status, done.error, done.done, done.total) == ("done", "", 3, 3)
    assert (done.model, done.embedder) == ("scripted", models.embedder.name)
    found = done.metrics
    assert (found["ndcg@10"], found["recall@10"], found["recall@100"], found["mrr@10"]) == (1, 1, 1, 1)
    # q1 answered in five words, one of them wanted, q2 refused wrongly, q3 refused rightly.
    assert found["exact_match"] == 0.0
    assert found["token_f1"] == pytest.approx((2 * 1 / (5 + 1)) / 2, abs=1e-4)
    assert (found["refusal_precision"], found["refusal_recall"]) == (0.5, 1.0)
    assert (found["false_refusal_rate"], found["balanced_accuracy"]) == (0.5, 0.75)
    assert (found["citation_precision"], found["citation_recall"]) == (1.0, 0.5)
    assert found["latency_p95_s"] >= found["latency_p50_s"] > 0
    assert done.configuration["settings"]["min_similarity"] == "0.2"


def test_each_question_keeps_what_came_of_it(
    cities: Path, models: Runtime, publisher: IngestionPublisher
) -> None:
    done = run(cities, models, publisher)
    with tenant_scope(done.organization):
        oslo, bern, rome = EvaluationResult.objects.filter(run=done)
    assert [row.status for row in (oslo, bern, rome)] == ["answered", "not_found", "not_found"]
    assert oslo.citations[0]["right"] is True
    assert oslo.citations[0]["quote"].startswith("Oslo is the capital of Norway.")
    assert oslo.passages[0]["name"] == "oslo"
    assert oslo.gold == [{"document_id": "oslo", "title": "oslo", "pages": []}]
    assert bern.metrics["refused"] == 1.0
    assert bern.metrics["token_f1"] == 0.0
    assert "token_f1" not in rome.metrics


def test_the_rows_are_those_of_the_product_and_the_index_agrees(
    cities: Path, models: Runtime, publisher: IngestionPublisher
) -> None:
    home = run(cities, models, publisher).organization
    with tenant_scope(home):
        assert Document.objects.filter(published__isnull=False).count() == 3
        for chunk in Chunk.objects.select_related("version"):
            page = Page.objects.get(version=chunk.version, number=chunk.page)
            assert page.text[chunk.start : chunk.end] == chunk.text
    assert audit(home).clean
    assert audit(home).points == 3


def test_a_loaded_suite_is_used_again_until_its_documents_change(
    cities: Path, models: Runtime, publisher: IngestionPublisher
) -> None:
    home = run(cities, models, publisher).organization
    with tenant_scope(home):
        before = set(Document.objects.values_list("id", flat=True))
    run(cities, models, publisher)
    with tenant_scope(home):
        assert set(Document.objects.values_list("id", flat=True)) == before
    lines = (cities / "corpus.jsonl").read_text().replace("1040", "1048")
    (cities / "corpus.jsonl").write_text(lines)
    run(cities, models, publisher)
    with tenant_scope(home):
        after = set(Document.objects.values_list("id", flat=True))
        assert Chunk.objects.filter(text__contains="1048").exists()
    assert len(after) == 3
    assert not after & before
    assert audit(home).clean


def test_what_was_interrupted_while_loading_is_loaded_anew(
    cities: Path, models: Runtime, publisher: IngestionPublisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut_off(*args: Any, **kwargs: Any) -> int:
        IngestionPublisher.texts(publisher, args[0], args[1][:2], **kwargs)
        raise KeyboardInterrupt

    suite = suites.read(cities)
    with monkeypatch.context() as patch:
        patch.setattr(publisher, "texts", cut_off)
        with pytest.raises(KeyboardInterrupt):
            prepare(suite, embedder=models.embedder, publisher=publisher, say=print)
    corpus = prepare(suite, embedder=models.embedder, publisher=publisher, say=print)
    assert sorted(corpus.names.values()) == ["bern", "oslo", "rome"]


def test_retrieval_alone_asks_no_model(
    cities: Path, models: Runtime, publisher: IngestionPublisher, generator: ScriptedGenerator
) -> None:
    done = run(cities, models, publisher, retrieval_only=True)
    assert generator.prompts == []
    assert done.model == ""
    assert done.metrics["ndcg@10"] == 1.0
    assert "refusal_f1" not in done.metrics
    assert "latency_p50_s" not in done.metrics


def test_the_oracle_shows_the_model_nothing_but_the_gold_documents(
    cities: Path, models: Runtime, publisher: IngestionPublisher, generator: ScriptedGenerator
) -> None:
    run(cities, models, publisher, oracle=True)
    norway = next(prompt for prompt in generator.prompts if "capital of Norway?" in prompt)
    assert "Oslo" in norway
    assert "Bern" not in norway
    run(cities, models, publisher)
    assert "Bern" in generator.prompts[-1] or "Bern" in generator.prompts[-2]


def test_the_organisation_of_a_suite_is_nobodys(
    cities: Path, models: Runtime, publisher: IngestionPublisher, alice_client: Client
) -> None:
    home = run(cities, models, publisher).organization
    assert (home.slug, home.is_internal) == ("evaluation-cities", True)
    assert not Membership.objects.filter(organization=home).exists()
    assert alice_client.get("/o/evaluation-cities/").status_code == 404
    assert "cities" not in alice_client.get("/o/acme/").content.decode()


def test_a_slug_of_users_is_left_alone(cities: Path) -> None:
    Organization.objects.create(slug="evaluation-cities", name="Ours")
    with pytest.raises(SuiteError, match="An organisation of users"):
        organization_of("cities")


def test_a_suite_that_cannot_be_read_fails_the_run_in_words(
    cities: Path, models: Runtime, publisher: IngestionPublisher
) -> None:
    with (cities / "questions.jsonl").open("a") as file:
        file.write("{\n")
    done = run(cities, models, publisher)
    assert done.status == "failed"
    assert "questions.jsonl, line 4" in done.error


def test_another_model_than_the_one_that_runs_is_refused(
    cities: Path, models: Runtime, publisher: IngestionPublisher
) -> None:
    done = run(cities, models, publisher, model="llama")
    assert done.status == "failed"
    assert "The model that runs is scripted, not llama." in done.error


def test_the_results_are_json(cities: Path, models: Runtime, publisher: IngestionPublisher) -> None:
    assert json.loads(json.dumps(run(cities, models, publisher).metrics))["questions"] == 3


def test_a_follow_up_is_ranked_by_what_the_answer_searched_for(
    cities: Path, models: Runtime, publisher: IngestionPublisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    (cities / "questions.jsonl").unlink()
    turns = [{"role": "user", "text": "Where do bears live?"}, {"role": "agent", "text": "In Bern."}]
    asked = {"id": "c1", "turns": [*turns, {"role": "user", "text": "Of what is it the capital?"}]}
    row = {
        **asked,
        "answerability": "ANSWERABLE",
        "reference_answer": "Switzerland",
        "gold_passages": ["bern"],
    }
    (cities / "conversations.jsonl").write_text(json.dumps(row) + "\n")
    searched: list[tuple[str, str]] = []

    def spy(**asked: Any) -> Any:
        searched.append((asked["query"], asked.get("earlier", "")))
        return retrieve(**asked)

    monkeypatch.setattr("search.answering.retrieve", spy)
    monkeypatch.setattr("search.evaluation.asking.retrieve", spy)
    done = run(cities, models, publisher)
    assert (done.status, done.error) == ("done", "")
    assert searched == [("Of what is it the capital?", "Where do bears live?")] * 2


def test_models_that_go_away_for_good_end_a_run(
    cities: Path, models: Runtime, publisher: IngestionPublisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(**asked: Any) -> Any:
        raise NotReady("The models are away.")

    monkeypatch.setattr("search.evaluation.asking.retrieve", away)
    monkeypatch.setattr("search.evaluation.asking.WAIT_S", 0.0)
    done = run(cities, models, publisher, retrieval_only=True)
    assert done.status == "failed"
    assert "away" in done.error
