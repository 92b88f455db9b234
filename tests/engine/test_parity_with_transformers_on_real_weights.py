"""The engine and transformers read the same file, each with its own loader, and must say the same."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from inference import catalog
from inference.config import EngineConfig
from inference.engine.engine import Engine
from inference.request import ChatMessage, PromptTokens
from tests.engine.tiny import assert_greedy_choices, drive, greedy, submit, tokens_of

TOKENS = 64
QUESTIONS = [
    "What is the capital of France?",
    "Write a Python function that reverses a list.",
    "Explain photosynthesis in one sentence.",
    "Übersetze ins Deutsche: good morning",
    "1, 1, 2, 3, 5, 8,",
    "List three uses of a paper clip.",
    "Why is the sky blue?",
    "Summarise: The committee met on Tuesday and postponed the vote.",
    "What does HTTP status 404 mean?",
    "名前は何ですか。",
    "Give me a recipe for pancakes.",
    "SELECT name FROM users WHERE",
    "Who wrote Hamlet?",
    "Convert 10 miles to kilometres.",
    "Describe a rainy day 🌧 in a city.",
    "def fibonacci(n):",
    "What is the difference between a process and a thread?",
    "Once upon a time, in a small village,",
    "Name the planets of the solar system.",
    "Answer with yes or no: is 17 a prime number? " + "Think about it carefully. " * 20,
]


def load(name: str) -> tuple[Engine, Any]:
    path = catalog.fetch(name)
    engine = Engine(EngineConfig(model_path=path, model_name=name, kv_cache_tokens=8192, max_model_len=1024))
    reference: Any = AutoModelForCausalLM.from_pretrained(
        path.parent, gguf_file=path.name, dtype=torch.float32, local_files_only=True
    )
    reference.eval()
    reference.generation_config.eos_token_id = None
    return engine, reference


def prompts_of(engine: Engine) -> list[PromptTokens]:
    """Half through the chat template, half as bare text."""
    return [
        engine.render_chat([ChatMessage("user", question)])
        if index % 2
        else PromptTokens(tuple(engine._tokenizer.encode(question)))
        for index, question in enumerate(QUESTIONS)
    ]


def assert_parity(engine: Engine, reference: Any) -> None:
    prompts = prompts_of(engine)
    handles = [submit(engine, prompt, greedy(TOKENS)) for prompt in prompts]
    drive(engine)
    assert engine.metrics()["max_decodes_in_a_step"] == len(prompts)
    for prompt, handle in zip(prompts, handles, strict=True):
        output = tokens_of(handle)
        assert len(output) == TOKENS
        assert_greedy_choices(reference, prompt, output)


@pytest.mark.slow
def test_smollm2_says_what_transformers_says() -> None:
    assert_parity(*load("smollm2-135m-instruct"))


@pytest.mark.slow
@pytest.mark.qwen
def test_qwen_says_what_transformers_says() -> None:
    assert_parity(*load("qwen2.5-coder-0.5b-instruct"))
