"""Batched = alone, chunked = whole, cold = warm, preempted = uninterrupted: token for token, greedy, fp32."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from inference.engine.engine import Engine
from tests.engine.tiny import (
    TinyCheckpoint,
    assert_same_tokens,
    drive,
    logits_of,
    make_config,
    make_prompts,
    run,
    submit,
    tokens_of,
)

PROMPTS = make_prompts(10, seed=3, longest=150)


@pytest.fixture(scope="module")
def alone(checkpoint: TinyCheckpoint) -> list[list[int]]:
    """Each prompt by itself, in one piece, without a cache."""
    engine = Engine(make_config(prefix_caching=False), checkpoint)
    return [output for prompt in PROMPTS for output in run(engine, [prompt])]


def check(checkpoint: TinyCheckpoint, got: Sequence[Sequence[int]], wanted: Sequence[Sequence[int]]) -> None:
    for prompt, mine, theirs in zip(PROMPTS, got, wanted, strict=True):
        assert_same_tokens(checkpoint.reference, prompt, mine, theirs)


def test_batched_equals_alone(checkpoint: TinyCheckpoint, alone: list[list[int]]) -> None:
    engine = Engine(make_config(), checkpoint)
    check(checkpoint, run(engine, PROMPTS), alone)
    assert engine.metrics()["max_decodes_in_a_step"] == len(PROMPTS)


def test_chunked_equals_whole(checkpoint: TinyCheckpoint, alone: list[list[int]]) -> None:
    engine = Engine(make_config(max_batched_tokens=17), checkpoint)
    check(checkpoint, run(engine, PROMPTS), alone)


def test_warm_equals_cold(checkpoint: TinyCheckpoint, alone: list[list[int]]) -> None:
    engine = Engine(make_config(), checkpoint)
    run(engine, PROMPTS)
    assert engine.metrics()["prefix_cache_hits"] == 0
    check(checkpoint, run(engine, PROMPTS), alone)
    hits = sum((len(prompt.token_ids) - 1) // 16 * 16 for prompt in PROMPTS)
    assert engine.metrics()["prefix_cache_hits"] == hits


def test_preempted_equals_uninterrupted(checkpoint: TinyCheckpoint, alone: list[list[int]]) -> None:
    engine = Engine(make_config(kv_cache_tokens=256, prefix_caching=False), checkpoint)
    check(checkpoint, run(engine, PROMPTS), alone)
    assert engine.metrics()["num_preemptions_total"] > 0


def test_a_late_comer_changes_nobody(checkpoint: TinyCheckpoint, alone: list[list[int]]) -> None:
    engine = Engine(make_config(), checkpoint)
    handles = []
    for prompt in PROMPTS:
        handles.append(submit(engine, prompt))
        engine.step()
        engine.step()
    drive(engine)
    check(checkpoint, [tokens_of(handle) for handle in handles], alone)


def test_int8_outputs_do_not_change_by_one_bit_in_company(checkpoint: TinyCheckpoint) -> None:
    prompts = [*PROMPTS, *make_prompts(3, seed=9, shortest=140, longest=300)]
    prompts += make_prompts(2, seed=9, shortest=193, longest=194)
    config = make_config(weight_format="int8", max_batched_tokens=100)
    wanted = [logits_of(Engine(config, checkpoint), [prompt])[0] for prompt in prompts]
    assert logits_of(Engine(config, checkpoint), prompts) == wanted
