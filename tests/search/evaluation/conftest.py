"""A small suite of two cities, in a folder, and models for it: the scripted generator and an embedder of words that can
cut texts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from inference import runtime
from inference.runtime import Runtime
from ingestion.evaluating import IngestionPublisher
from search.evaluation import jobs
from tests.faults.words_service import WordsEmbedder
from tests.search.doubles import ScriptedGenerator

CORPUS = [
    {"_id": "oslo", "title": "Oslo", "text": "Oslo is the capital of Norway. It was founded in 1040."},
    {"_id": "bern", "title": "Bern", "text": "Bern is the capital of Switzerland. Bears live in its park."},
    {"_id": "rome", "title": "Rome", "text": "Rome lies on seven hills beside the river Tiber."},
]
QUESTIONS = [
    {"id": "q1", "question": "What is the capital of Norway?", "answerable": True, "answers": ["Oslo"], "gold_passages": ["oslo"]},
    {"id": "q2", "question": "What is the capital of Switzerland?", "answerable": True, "answers": ["Bern"], "gold_passages": ["bern"]},
    {"id": "q3", "question": "Who painted the ceiling of the Tiber river in Rome?", "answerable": False, "answers": [], "gold_passages": ["rome"]},
]  # fmt: skip


def says(prompt: str) -> str:
    """What the scripted model answers: the truth about Oslo, and nothing that a passage says about the rest."""
    question = prompt.rpartition("Question: ")[2]
    return "Oslo is the capital of Norway." if "Norway" in question else "Nobody knows whatever."


@pytest.fixture
def cities(tmp_path: Path) -> Path:
    folder = tmp_path / "cities"
    (folder / "qrels").mkdir(parents=True)
    for name, rows in (("corpus", CORPUS), ("questions", QUESTIONS), ("queries", [])):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq1\toslo\t1\nq2\tbern\t1\n")
    return folder


@pytest.fixture
def generator() -> ScriptedGenerator:
    return ScriptedGenerator(says)


@pytest.fixture
def models(generator: ScriptedGenerator, settings: Any) -> Iterator[Runtime]:
    settings.ENV.min_similarity, before = 0.2, settings.ENV.min_similarity
    ready = Runtime.of(generator=generator, embedder=WordsEmbedder())
    runtime.install(ready)
    yield ready
    runtime.uninstall()
    settings.ENV.min_similarity = before


@pytest.fixture(autouse=True)
def a_slow_heart(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test in one transaction shows its rows to no other thread."""
    monkeypatch.setattr(jobs, "BEAT_SECONDS", 300.0)


@pytest.fixture
def publisher() -> IngestionPublisher:
    return IngestionPublisher(works_itself=True)
