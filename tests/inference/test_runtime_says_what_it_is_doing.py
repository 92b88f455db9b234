from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from inference import runtime
from inference.errors import NotReady
from inference.request import ChatMessage, SamplingParams, Share
from inference.runtime import Runtime, RuntimeConfig


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    runtime.uninstall()
    yield
    runtime.uninstall()


def test_a_process_without_models_answers_not_ready() -> None:
    assert runtime.current().state == "loading"
    with pytest.raises(NotReady):
        _ = runtime.current().generator
    with pytest.raises(NotReady):
        _ = runtime.current().embedder


def test_what_is_installed_is_found_until_it_is_uninstalled() -> None:
    mine = Runtime("Loading for a test.")
    runtime.install(mine)
    assert runtime.current() is mine
    with pytest.raises(NotReady, match="Loading for a test"):
        _ = runtime.current().generator
    runtime.uninstall()
    assert runtime.current() is not mine


def test_models_load_behind_the_caller_and_answer(smollm2: Path, minilm: Path) -> None:
    config = RuntimeConfig(generator=str(smollm2), embedder=str(minilm), weight_format="fp32", num_threads=1)
    running = runtime.load_in_background(config)
    assert running.wait(120) == "ready"
    assert running.embedder.dimension == 384
    prompt = running.generator.render_chat([ChatMessage("user", "What is the capital of France?")])
    text, _ = running.generator.submit(prompt, SamplingParams(max_tokens=20), share=Share("a")).result(60)
    assert "Paris" in text
    running.stop()
    with pytest.raises(NotReady, match="stopped"):
        _ = running.generator


def test_a_failure_is_told_with_its_remedy(tmp_path: Path) -> None:
    config = RuntimeConfig(embedder="all-MiniLM-L6-v2", models_dir=tmp_path, fetch_missing=False)
    running = runtime.load_in_background(config)
    assert running.wait(60) == "failed"
    assert "all-MiniLM-L6-v2" in running.detail
    assert "models fetch" in running.detail
    with pytest.raises(NotReady, match="models fetch"):
        _ = running.embedder
