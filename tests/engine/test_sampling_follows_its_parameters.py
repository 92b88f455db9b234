from __future__ import annotations

from collections import Counter

import pytest
import torch

from inference.engine.engine import Engine
from inference.request import PromptTokens, SamplingParams
from inference.sampling.sampler import random_stream, sample
from tests.engine.tiny import TinyCheckpoint, drive, make_config, make_prompts, run, submit, tokens_of

LOGITS = torch.log(torch.tensor([0.05, 0.5, 0.3, 0.15]))


def draws(params: SamplingParams, count: int = 2000) -> Counter[int | None]:
    stream = random_stream(params)
    rows = LOGITS.expand(count, 4)
    return Counter(sample(rows, [params] * count, [stream] * count))


def test_temperature_zero_takes_the_likeliest() -> None:
    assert draws(SamplingParams()) == {1: 2000}


def test_draws_follow_the_distribution() -> None:
    counts = draws(SamplingParams(temperature=1.0, seed=5), 20_000)
    for token, wanted in enumerate([0.05, 0.5, 0.3, 0.15]):
        assert counts[token] / 20_000 == pytest.approx(wanted, abs=0.015)


def test_a_low_temperature_sharpens() -> None:
    assert draws(SamplingParams(temperature=0.1, seed=5))[1] > 1950


def test_top_k_keeps_the_k_likeliest() -> None:
    assert set(draws(SamplingParams(temperature=1.0, top_k=2, seed=5))) == {1, 2}


def test_top_p_keeps_the_smallest_set_that_reaches_p() -> None:
    assert set(draws(SamplingParams(temperature=1.0, top_p=0.7, seed=5))) == {1, 2}
    assert set(draws(SamplingParams(temperature=1.0, top_p=0.01, seed=5))) == {1}


def test_a_row_without_numbers_fails_alone() -> None:
    rows = torch.stack([LOGITS, torch.full((4,), float("nan")), LOGITS])
    params = SamplingParams()
    assert sample(rows, [params] * 3, [random_stream(params)] * 3) == [1, None, 1]


def test_a_seed_gives_the_same_output_whatever_the_batch(checkpoint: TinyCheckpoint) -> None:
    prompts = make_prompts(6, seed=11)
    params = SamplingParams(max_tokens=20, temperature=0.9, top_p=0.95, seed=42, ignore_eos=True)
    alone = run(Engine(make_config(), checkpoint), prompts[:1], params)[0]
    engine = Engine(make_config(max_batched_tokens=40), checkpoint)
    handle = submit(engine, prompts[0], params)
    for prompt in prompts[1:]:
        submit(engine, prompt, SamplingParams(max_tokens=20, temperature=1.5, ignore_eos=True))
    drive(engine)
    assert tokens_of(handle) == alone


def test_different_seeds_differ(llama: TinyCheckpoint) -> None:
    prompt = PromptTokens(tuple(range(40)))
    wishes = [SamplingParams(20, 1.0, seed=seed, ignore_eos=True) for seed in range(4)]
    outputs = {tuple(run(Engine(make_config(), llama), [prompt], wish)[0]) for wish in wishes}
    assert len(outputs) == 4
