from __future__ import annotations

from inference.engine.engine import Engine
from tests.engine.tiny import (
    TinyCheckpoint,
    assert_same_tokens,
    make_config,
    make_prompts,
    reference_tokens,
    run,
)


def test_greedy_tokens_equal_those_of_transformers(checkpoint: TinyCheckpoint) -> None:
    prompts = make_prompts(8, longest=200)
    outputs = run(Engine(make_config(), checkpoint), prompts)
    for prompt, output in zip(prompts, outputs, strict=True):
        wanted = reference_tokens(checkpoint.reference, prompt, 24)
        assert_same_tokens(checkpoint.reference, prompt, output, wanted)
        assert len(set(output)) > 4, "the random model repeats itself: the test would prove little"
