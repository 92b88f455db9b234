"""`manage.py evaluate --json` prints one JSON object; what cannot be done is a sentence and an exit status."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from config import one_process
from config.management.commands import evaluate
from inference.runtime import Runtime
from search.evaluation import jobs
from search.evaluation.corpora import organization_of
from tenants.models import Organization
from tests.faults.words_service import WordsEmbedder
from tests.search.doubles import ScriptedGenerator
from tests.search.evaluation.conftest import CORPUS, QUESTIONS, says

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def cities(tmp_path: Path) -> Path:
    folder = tmp_path / "suites" / "qa" / "cities"
    folder.mkdir(parents=True)
    for name, rows in (("corpus", CORPUS), ("questions", QUESTIONS)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture(autouse=True)
def small_models(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def models(asked: dict[str, Any]) -> Iterator[Runtime]:
        yield Runtime.of(generator=ScriptedGenerator(says), embedder=WordsEmbedder())

    monkeypatch.setattr(evaluate, "models_for", models)


def run(*arguments: str) -> str:
    out = StringIO()
    call_command("evaluate", *arguments, stdout=out, stderr=StringIO())
    return out.getvalue()


def test_one_object_and_nothing_else(cities: Path) -> None:
    found = json.loads(run(str(cities), "--json", "--threads", "2"))
    assert (found["suite"], found["model"], found["questions"]) == ("cities", "scripted", 3)
    for name in (
        "token_f1",
        "exact_match",
        "refusal_f1",
        "citation_precision",
        "citation_recall",
        "latency_p95_s",
    ):
        assert isinstance(found[name], float), name


def test_without_json_a_line_for_each(cities: Path) -> None:
    assert "refusal_f1" in run(str(cities))


def test_a_name_is_found_in_the_folder_of_suites(cities: Path, settings: Any) -> None:
    home, settings.ENV.evaluation_folder = settings.ENV.evaluation_folder, str(cities.parents[1])
    try:
        assert json.loads(run("cities", "--json", "--limit", "1"))["questions"] == 1
    finally:
        settings.ENV.evaluation_folder = home


def test_what_cannot_be_done_is_said(cities: Path, acme: Organization) -> None:
    with pytest.raises(CommandError, match="There is no suite 'nowhere'"):
        run("nowhere")
    with pytest.raises(CommandError, match="Name a suite, or an organisation"):
        run()
    with pytest.raises(CommandError, match="no questions of its own"):
        run("--organization", "acme")
    with pytest.raises(CommandError, match="no organisation 'initech'"):
        run("--organization", "initech")
    with pytest.raises(CommandError, match="--threads is 1 to 64"):
        run(str(cities), "--threads", "0")


def test_where_the_product_runs_it_is_asked(cities: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def product_answers(queued: Any, say: Any, gone: Any) -> Any:
        assert not gone()
        assert queued.status == "queued"
        assert queued.options["source"] == str(cities)
        queued.status, queued.metrics = "done", {"questions": 3}
        return queued

    monkeypatch.setattr(jobs, "wait_for", product_answers)
    with one_process.take("serve"):
        assert json.loads(run(str(cities), "--json"))["questions"] == 3
    assert organization_of("cities").is_internal


def test_another_evaluation_is_not_taken_for_the_product(cities: Path) -> None:
    with one_process.take("evaluate"), pytest.raises(CommandError, match="Another evaluation"):
        run(str(cities), "--json")


def test_a_run_that_waits_for_a_product_that_stopped_is_given_up(
    cities: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serving = one_process.take("serve")
    looked: list[bool] = []

    def look(*_: Any) -> None:
        looked.append(True)
        serving.close()

    monkeypatch.setattr(jobs, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr("search.evaluation.jobs.time.sleep", look)
    with pytest.raises(CommandError, match="The product has stopped"):
        run(str(cities), "--json")
    assert looked
