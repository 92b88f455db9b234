"""The benchmark of drafts compares the same outputs, and stops when they are not the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import speculation
from inference.engine.engine import Engine
from inference.request import PromptTokens
from tests.engine.tiny import TinyCheckpoint, make_checkpoint, make_config

PROMPTS = [PromptTokens(tuple(range(number, number + 30)) * 2) for number in range(3)]


def engines(off: TinyCheckpoint, on: TinyCheckpoint) -> dict[str, Engine]:
    return {
        "off": Engine.start(make_config(speculation=0), off),
        "on": Engine.start(make_config(speculation=8), on),
    }


@pytest.fixture(autouse=True)
def _prompts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speculation, "prompts", lambda engine, task, count: PROMPTS[:count])


def test_both_engines_answer_the_same_prompts(llama: TinyCheckpoint) -> None:
    pair = engines(llama, llama)
    found = speculation.measure(pair, "quote", 3)
    assert 0 < found["output_tokens"] <= 3 * speculation.OUTPUT
    assert found["accepted_tokens"] <= found["draft_tokens"]
    for engine in pair.values():
        engine.stop()


def test_other_outputs_are_no_result(llama: TinyCheckpoint) -> None:
    pair = engines(llama, make_checkpoint("qwen2"))
    with pytest.raises(RuntimeError, match="changed an output"):
        speculation.measure(pair, "quote", 2)
    for engine in pair.values():
        engine.stop()


def test_the_table_holds_medians_by_task_and_streams() -> None:
    speeds = [(100.0, 150.0), (100.0, 210.0), (100.0, 190.0)]
    runs = [
        {
            "task": "quote", "streams": 4, "output_tokens": 100, "draft_tokens": 50, "accepted_tokens": 40,
            "off_tokens_per_s": off, "on_tokens_per_s": on, "speedup": on / off,
        }
        for off, on in speeds
    ]  # fmt: skip
    [row] = speculation.table(runs)
    assert (row["speedup"], row["accepted_of_drafted"], row["accepted_of_output"]) == (1.9, 0.8, 0.4)


def test_passages_are_sections_of_a_readable_length(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text(
        "# Short\nno\n\n## Fits\n" + "word " * 80 + "\n\n## Long\n" + "word " * 500
    )
    [section] = speculation.sections(tmp_path)
    assert section.startswith("## Fits")
