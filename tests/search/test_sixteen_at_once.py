"""Sixteen questions at once, on real models: shared decode steps, no answer has another's secret (T16)."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from django.db import connections
from django.test import Client

from config.env import env
from inference import catalog, runtime
from inference.errors import WeightsMissing
from inference.runtime import Runtime
from tenants.models import Organization
from tests.search.library import add_document

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.qwen, pytest.mark.timeout(900)]

TREES = """
Alder Birch Cedar Damson Elder Fir Ginkgo Hazel
Iris Juniper Kapok Laurel Maple Nutmeg Olive Poplar
"""
NAMES = TREES.split()
CANARIES = {name: f"{4100 + 37 * i}" for i, name in enumerate(NAMES)}


@pytest.fixture
def real_models(embedder: Any, models_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Runtime]:
    """The default model on the engine, beside the real embedder."""
    from inference.config import EngineConfig
    from inference.engine.engine import Engine

    monkeypatch.setattr(env(), "max_answer_tokens", 32)
    monkeypatch.setattr(env(), "context_tokens", 120)
    name = "qwen2.5-coder-0.5b-instruct"
    try:
        path = catalog.path(name, models_dir)
    except WeightsMissing:
        path = catalog.fetch(name, models_dir)
    engine = Engine.start(
        EngineConfig(model_path=path, model_name=name, weight_format="int8", kv_cache_tokens=16384)
    )
    ready = Runtime.of(generator=engine, embedder=embedder)
    runtime.install(ready)
    yield ready
    runtime.uninstall()
    engine.stop()


def test_sixteen_answers_share_steps_and_nothing_else(
    api: Any, acme: Organization, clean_index: None, embedder: Any, real_models: Runtime
) -> None:
    documents = {
        name: str(
            add_document(
                acme,
                f"Guide to room {name}",
                f"Room {name} has a table and eight chairs. To open room {name}, enter the door code {code}. "
                "The lights go out by themselves.",
                embedder=embedder,
            )
        )
        for name, code in CANARIES.items()
    }
    clients = {name: api(acme) for name in NAMES}
    together = threading.Barrier(len(NAMES))

    def ask(name: str) -> dict[str, Any]:
        together.wait(60)
        try:
            return question(clients[name], name)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(NAMES)) as pool:
        answers = dict(zip(NAMES, pool.map(ask, NAMES), strict=True))

    metrics = real_models.generator.metrics()
    assert metrics["max_decodes_in_a_step"] >= 4, metrics
    declined = {
        name: answer["answer"] for name, answer in answers.items() if CANARIES[name] not in answer["answer"]
    }
    assert not declined, declined
    for name, answer in answers.items():
        others = {code for other, code in CANARIES.items() if other != name}
        assert not any(code in answer["answer"] for code in others), answer
        quotes = {citation["document_id"]: citation["quote"] for citation in answer["citations"]}
        assert CANARIES[name] in quotes[documents[name]]
        assert not any(code in quote for code in others for quote in quotes.values()), answer


def question(client: Client, name: str) -> dict[str, Any]:
    response = client.post(
        "/api/v1/answers",
        {
            "question": f"Which door code opens room {name}?",
        },
        content_type="application/json",
    )
    assert response.status_code == 200, response.content
    body: dict[str, Any] = response.json()
    return body
