"""Outputs with drafts equal those without: tokens, logprobs, ends, usage, what is charged and what stays in the cache."""

from __future__ import annotations

from typing import Any

import pytest

from inference.engine.engine import Engine
from inference.request import Delta, Finished, GenerationEvent, PromptTokens, SamplingParams
from inference.scheduling.scheduler import Step
from tests.engine.drafts import Oracle
from tests.engine.tiny import (
    TinyCheckpoint,
    drive,
    greedy,
    letters,
    make_checkpoint,
    make_config,
    make_prompts,
    run,
    submit,
)

PROMPTS = make_prompts(8, seed=11, longest=90)
WAYS = {
    "greedy": greedy(40),
    "seeded": greedy(40, temperature=0.8, top_p=0.9, seed=7),
    "penalties": greedy(40, repetition_penalty=1.3, frequency_penalty=0.7, presence_penalty=0.2),
    "logprobs": greedy(40, temperature=1.5, seed=3, logprobs=3, frequency_penalty=0.5),
}
KERNELS = {"hidden_size": 384, "intermediate_size": 320, "num_attention_heads": 6, "head_dim": 64}


@pytest.fixture(scope="module")
def wide() -> TinyCheckpoint:
    """Of a shape that the compiled kernels compute."""
    return make_checkpoint("llama", **KERNELS, initializer_range=0.06)


def events_of(
    engine: Engine, params: SamplingParams, prompts: list[PromptTokens] = PROMPTS
) -> list[list[GenerationEvent]]:
    handles = [submit(engine, prompt, params) for prompt in prompts]
    drive(engine)
    return [list(handle) for handle in handles]


def tokens(events: list[GenerationEvent]) -> list[int]:
    return [token for event in events if isinstance(event, Delta) for token in event.token_ids]


def logprobs(events: list[GenerationEvent]) -> list[Any]:
    return [found for event in events if isinstance(event, Delta) for found in event.logprobs]


def draft(monkeypatch: pytest.MonkeyPatch, outputs: list[list[int]], wrong: float) -> None:
    Oracle(PROMPTS, outputs, wrong=wrong).install(monkeypatch)


@pytest.mark.parametrize("way", WAYS)
def test_tokens_are_the_same_in_fp32(
    llama: TinyCheckpoint, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    wanted = run(Engine(make_config(), llama), PROMPTS, WAYS[way])
    draft(monkeypatch, wanted, wrong=0.2)
    engine = Engine(make_config(speculation=16), llama)
    assert run(engine, PROMPTS, WAYS[way]) == wanted
    metrics = engine.metrics()
    accepted, drafted = (metrics[f"spec_decode_num_{name}_tokens_total"] for name in ("accepted", "draft"))
    assert 0 < accepted < drafted
    assert metrics["generation_tokens_total"] == 40 * len(PROMPTS)
    assert metrics["steps_total"] < 30, "drafts saved no steps"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("weight_format", ["int8", "bf16"])
def test_the_compiled_kernels_give_the_same_bits(
    wide: TinyCheckpoint, monkeypatch: pytest.MonkeyPatch, weight_format: str, way: str
) -> None:
    config = {"weight_format": weight_format, "kernels": "avx2"}
    wanted = events_of(Engine(make_config(speculation=0, **config), wide), WAYS[way])
    draft(monkeypatch, [tokens(events) for events in wanted], wrong=0.2)
    engine = Engine(make_config(**config), wide)
    got = events_of(engine, WAYS[way])
    assert [tokens(events) for events in got] == [tokens(events) for events in wanted]
    assert [logprobs(events) for events in got] == [logprobs(events) for events in wanted]
    assert engine.metrics()["spec_decode_num_accepted_tokens_total"] > 0, "it drafts by default"


@pytest.mark.parametrize("way", ["stop string", "stop token", "end token", "length"])
def test_nothing_comes_after_an_end_within_a_draft(
    llama: TinyCheckpoint, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    whole = run(Engine(make_config(), llama), PROMPTS, greedy(40))
    cut = whole[0][17:19]
    params = {
        "stop string": greedy(40, stop=(letters(cut),)),
        "stop token": greedy(40, stop_token_ids=tuple(cut[:1])),
        "end token": greedy(40, ignore_eos=False),
        "length": greedy(7),
    }[way]
    if way == "end token":
        monkeypatch.setattr(llama.tokenizer, "eos_token_ids", (cut[0],))
    plain, drafting = Engine(make_config(), llama), Engine(make_config(speculation=16), llama)
    wanted = events_of(plain, params)
    draft(monkeypatch, whole, wrong=0.0)
    got = events_of(drafting, params)
    for mine, theirs in zip(got, wanted, strict=True):
        assert tokens(mine) == tokens(theirs)
        assert [isinstance(event, Finished) for event in mine].index(True) == len(mine) - 1
        end, other = mine[-1], theirs[-1]
        assert isinstance(end, Finished)
        assert isinstance(other, Finished)
        assert (end.reason, end.usage.completion_tokens) == (other.reason, other.usage.completion_tokens)
    assert len(tokens(got[0])) < 40
    assert drafting.metrics()["generation_tokens_total"] == plain.metrics()["generation_tokens_total"]
    assert drafting._scheduler.waiting.served == plain._scheduler.waiting.served, (
        "only what is kept is charged"
    )


@pytest.mark.parametrize("wrong", [0.1, 1.0])
def test_rejected_tokens_are_never_found_in_the_prefix_cache(
    llama: TinyCheckpoint, monkeypatch: pytest.MonkeyPatch, wrong: float
) -> None:
    plain, engine = Engine(make_config(), llama), Engine(make_config(speculation=16), llama)
    outputs = run(plain, PROMPTS, greedy(40))
    draft(monkeypatch, outputs, wrong)
    assert run(engine, PROMPTS, greedy(40)) == outputs
    assert set(engine._scheduler.kv.pool._by_hash) == set(plain._scheduler.kv.pool._by_hash)
    monkeypatch.undo()
    longer = [
        PromptTokens((*prompt.token_ids, *output)) for prompt, output in zip(PROMPTS, outputs, strict=True)
    ]
    assert run(engine, longer) == run(Engine(make_config(prefix_caching=False), llama), longer)
    assert engine.metrics()["prefix_cache_hits"] > 40 * len(PROMPTS)


def test_blocks_of_rejected_tokens_go_back_at_once(
    llama: TinyCheckpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    outputs = run(Engine(make_config(), llama), PROMPTS, greedy(40))
    draft(monkeypatch, outputs, wrong=1.0)
    engine = Engine(make_config(speculation=16), llama)
    for prompt in PROMPTS:
        submit(engine, prompt, greedy(40))
    most = 0
    while engine.has_work:
        engine.step()
        for sequence in engine._scheduler.running:
            most = max(most, len(sequence.block_table))
            assert len(sequence.block_table) == engine._scheduler.kv.blocks_for(sequence.num_tokens)
    assert most > 1
    assert engine.metrics()["spec_decode_num_draft_tokens_total"] > 100


def test_drafts_preempt_nobody_and_hold_up_no_prompt(
    llama: TinyCheckpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Drafts that are all wrong change neither steps nor preemptions, however short blocks and budget are."""
    config = {"kv_cache_tokens": 256, "max_batched_tokens": 24, "prefix_caching": False}
    plain = Engine(make_config(**config), llama)
    outputs = run(plain, PROMPTS, greedy(40))
    draft(monkeypatch, outputs, wrong=1.0)
    engine = Engine(make_config(speculation=16, **config), llama)
    schedule, sizes = engine._scheduler.schedule, []

    def watched(now: float = 0.0) -> Step:
        step = schedule(now)
        sizes.append(sum(step.values()))
        return step

    monkeypatch.setattr(engine._scheduler, "schedule", watched)
    assert run(engine, PROMPTS, greedy(40)) == outputs
    assert max(sizes) <= 24
    assert plain.metrics()["num_preemptions_total"] > 0
    assert engine.metrics()["spec_decode_num_draft_tokens_total"] > 100
    for name in ("steps_total", "num_preemptions_total", "computed_tokens_total"):
        assert engine.metrics()[name] == plain.metrics()[name], name


def test_larger_batches_do_not_draft(llama: TinyCheckpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    outputs = run(Engine(make_config(), llama), PROMPTS, greedy(40))
    draft(monkeypatch, outputs, wrong=0.0)
    few = Engine(make_config(speculation=3), llama)
    run(few, PROMPTS[:3], greedy(40))
    assert few.metrics()["spec_decode_num_drafts_total"] > 0
    many = Engine(make_config(speculation=3), llama)
    run(many, PROMPTS[:4], greedy(40))
    assert many.metrics()["spec_decode_num_drafts_total"] == 0


def test_formats_whose_bits_depend_on_company_draft_only_when_told(llama: TinyCheckpoint) -> None:
    assert Engine(make_config(), llama)._runner.speculation(None) == 0
    assert Engine(make_config(), llama)._runner.speculation(4) == 4
    on_a_grid = make_config(weight_format="int8", kernels="off")
    assert Engine(on_a_grid, llama)._runner.speculation(4) == 0
