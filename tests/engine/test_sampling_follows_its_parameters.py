from __future__ import annotations

import itertools
from collections import Counter
from typing import Any

import pytest
import torch
from transformers import (
    LogitsProcessorList,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from inference.engine.engine import Engine
from inference.request import PromptTokens, SamplingParams
from inference.sampling import sampler
from inference.sampling.sampler import Ask, sample
from tests.engine.tiny import TinyCheckpoint, drive, make_config, make_prompts, run, submit, tokens_of

LOGITS = torch.log(torch.tensor([0.05, 0.5, 0.3, 0.15]))
CONTEXT = (7, 3, 3, 9, 11, 3, 40, 9)
CONTEXT_IDS: Any = torch.tensor([CONTEXT])
NUM_PROMPT = 4
GRID = 1_000
CRITICAL = {7: 24.32, 63: 103.44}
"""Chi-square that chance exceeds once in a thousand times, by degrees of freedom."""


def draws(params: SamplingParams, count: int = 2_000, logits: torch.Tensor = LOGITS) -> list[int]:
    """``count`` tokens, one for each position of an output, all from the same logits."""
    asks = [Ask(params, params.seed or 0, range(position), 0) for position in range(count)]
    choices = sample(logits.expand(count, -1), asks)
    return [choice.token_id for choice in choices if choice is not None]


def one(logits: torch.Tensor, params: SamplingParams, seed: int = 0) -> int:
    [choice] = sample(logits[None], [Ask(params, seed, CONTEXT, NUM_PROMPT)])
    assert choice is not None
    return choice.token_id


def processors(params: SamplingParams) -> LogitsProcessorList:
    """Transformers' own, in the order that vLLM documents."""
    chain: list[Any] = [RepetitionPenaltyLogitsProcessor(params.repetition_penalty)]
    chain += [TemperatureLogitsWarper(params.temperature)] if params.temperature else []
    chain += [MinPLogitsWarper(params.min_p)] if params.min_p else []
    chain += [TopKLogitsWarper(params.top_k)] if params.top_k > 0 else []
    chain += [TopPLogitsWarper(params.top_p)] if params.top_p < 1 else []
    return LogitsProcessorList(chain)


WISHES: list[dict[str, Any]] = [
    {
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "min_p": min_p,
        "repetition_penalty": penalty,
    }
    for temperature, top_k, top_p, min_p, penalty in itertools.product(
        (0.5, 1.0, 1.7), (0, 5, 1_000), (1.0, 0.8, 0.05), (0.0, 0.1), (1.0, 1.6, 0.7)
    )
]


@pytest.mark.parametrize("wish", WISHES, ids=str)
def test_probabilities_are_those_of_transformers(
    wish: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At even steps of chance each token must come up as often as it is probable, to one step at each end."""
    monkeypatch.setattr(sampler, "uniform", lambda seed, position: (seed + 0.5) / GRID)
    monkeypatch.setattr(sampler, "USUAL_NUCLEUS", 8)
    logits = torch.randn(64, generator=torch.Generator().manual_seed(3)) * 3
    params = SamplingParams(**wish)
    scores = processors(params)(CONTEXT_IDS, logits[None].double().clone())
    wanted = torch.softmax(scores, dim=-1)[0].tolist()

    asks = [Ask(params, seed, CONTEXT, NUM_PROMPT) for seed in range(GRID)]
    counts = Counter(choice.token_id for choice in sample(logits.expand(GRID, -1), asks) if choice)

    assert sum(counts.values()) == GRID
    for token, probability in enumerate(wanted):
        assert abs(counts[token] - probability * GRID) <= 1, f"token {token}"


@pytest.mark.parametrize("penalty", [1.0, 1.6, 0.7])
def test_greedy_takes_the_likeliest_after_the_penalties(penalty: float) -> None:
    params = SamplingParams(repetition_penalty=penalty, frequency_penalty=0.4, presence_penalty=-0.7)
    for seed in range(200):
        logits = torch.randn(64, generator=torch.Generator().manual_seed(seed)) * 0.8
        scores = processors(params)(CONTEXT_IDS, logits[None].double().clone())[0]
        for token, count in Counter(CONTEXT[NUM_PROMPT:]).items():
            scores[token] -= 0.4 * count - 0.7
        assert one(logits, params) == int(scores.argmax())
        assert one(logits, SamplingParams()) == int(logits.argmax())


def test_presence_and_frequency_count_the_output_alone() -> None:
    logits = torch.zeros(64)
    logits[7], logits[3], logits[20] = 3.0, 2.9, 1.5
    assert one(logits, SamplingParams(presence_penalty=2.0)) == 7, "7 stands in the prompt, not in the output"
    assert one(logits, SamplingParams(repetition_penalty=4.0)) == 20, "7 and 3 stand somewhere"
    logits[9] = 4.0
    assert one(logits, SamplingParams(presence_penalty=0.9)) == 9
    assert one(logits, SamplingParams(presence_penalty=1.1)) == 7


@pytest.mark.parametrize("over", ["positions", "seeds"])
def test_draws_pass_a_chi_square_test(over: str) -> None:
    probabilities = torch.softmax(torch.linspace(-1.5, 1.5, 8), dim=0)
    count, params = 40_000, SamplingParams(temperature=1.0, seed=5)
    logits = torch.log(probabilities)
    if over == "positions":
        tokens = draws(params, count, logits)
    else:
        asks = [Ask(params, seed, (), 0) for seed in range(count)]
        tokens = [choice.token_id for choice in sample(logits.expand(count, -1), asks) if choice is not None]
    wanted = probabilities.tolist()
    singles = Counter(tokens)
    assert sum((singles[i] - count * p) ** 2 / (count * p) for i, p in enumerate(wanted)) < CRITICAL[7]
    pairs = Counter(zip(tokens[::2], tokens[1::2], strict=True))
    half = count / 2
    chi_square = sum(
        (pairs[i, j] - half * wanted[i] * wanted[j]) ** 2 / (half * wanted[i] * wanted[j])
        for i, j in itertools.product(range(8), repeat=2)
    )
    assert chi_square < CRITICAL[63], "neighbouring draws depend on each other"


def test_a_low_temperature_sharpens_and_the_lowest_is_greedy() -> None:
    assert Counter(draws(SamplingParams(temperature=0.1, seed=5)))[1] > 1_950
    assert set(draws(SamplingParams(temperature=1e-300, seed=5))) == {1}


def test_tokens_without_any_probability_are_never_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    logits = torch.full((64,), float("-inf"))
    logits[1], logits[2], logits[3] = 0.0, -5_000.0, 0.0
    wishes: list[dict[str, Any]] = [{}, {"top_p": 0.999}, {"top_k": 4}, {"min_p": 1e-9}]
    for chance in (0.0, 0.25, 0.5, 1 - 2**-53):
        monkeypatch.setattr(sampler, "uniform", lambda seed, position, chance=chance: chance)
        for wish in wishes:
            assert one(logits, SamplingParams(temperature=1.0, repetition_penalty=2.0, **wish)) in (1, 3)


def test_a_row_without_numbers_fails_alone() -> None:
    for poison in (float("nan"), float("inf"), float("-inf")):
        for params in (
            SamplingParams(),
            SamplingParams(temperature=1.0, top_p=0.5, seed=1),
            SamplingParams(logprobs=3),
        ):
            bad = torch.full((4,), poison)
            if poison > 0:
                bad[1:] = 0.0
            choices = sample(torch.stack([LOGITS, bad, LOGITS]), [Ask(params, 1, (), 0)] * 3)
            assert choices[1] is None
            assert choices[0] == choices[2] is not None


def test_logprobs_are_those_of_the_model_best_first() -> None:
    wanted = torch.log_softmax(LOGITS, dim=0).tolist()
    params = SamplingParams(temperature=1.0, top_k=2, repetition_penalty=1.5, logprobs=3, seed=1)
    [choice] = sample(LOGITS[None], [Ask(params, 1, (1, 1), 1)])
    assert choice is not None
    assert choice.logprob is not None
    assert choice.logprob.token_id == choice.token_id
    assert choice.logprob.logprob == pytest.approx(wanted[choice.token_id])
    assert [token for token, _ in choice.logprob.top] == [1, 2, 3]
    assert [value for _, value in choice.logprob.top] == pytest.approx([wanted[1], wanted[2], wanted[3]])


@pytest.mark.parametrize("count", [0, 4, 20])
def test_more_logprobs_than_tokens_and_logarithms_of_nothing_do_no_harm(count: int) -> None:
    logits = torch.tensor([0.0, float("-inf"), 0.0])
    [choice] = sample(logits[None], [Ask(SamplingParams(logprobs=count), 0, (), 0)])
    assert choice is not None
    assert choice.logprob is not None
    assert len(choice.logprob.top) == min(count, 3)
    assert all(-9_999 <= value <= 0 for _, value in choice.logprob.top)


def test_rows_do_not_depend_on_their_neighbours() -> None:
    generator = torch.Generator().manual_seed(1)
    rows = torch.randn(12, 5_000, generator=generator) * 4
    asks = [
        Ask(SamplingParams(**WISHES[index * 9 % len(WISHES)], logprobs=index % 3), index, CONTEXT, NUM_PROMPT)
        for index in range(12)
    ]
    together = sample(rows, asks)
    assert together == [sample(row[None], [ask])[0] for row, ask in zip(rows, asks, strict=True)]
    assert together[::-1] == sample(rows.flip(0), asks[::-1])


def test_the_usual_greedy_batch_sorts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a row was worked on that asks for its maximum alone")

    monkeypatch.setattr(sampler, "_choose", refuse)
    asks = [Ask(SamplingParams(top_p=0.9, top_k=4, seed=1), 0, CONTEXT, NUM_PROMPT)] * 3
    assert [choice and choice.token_id for choice in sample(LOGITS.expand(3, -1), asks)] == [1, 1, 1]


SEEDED = SamplingParams(
    max_tokens=20, temperature=0.9, top_p=0.95, repetition_penalty=1.2, seed=42, ignore_eos=True
)


def test_a_seed_gives_the_same_output_whatever_the_batch_and_the_chunks(checkpoint: TinyCheckpoint) -> None:
    prompts = make_prompts(6, seed=11)
    alone = run(Engine(make_config(), checkpoint), prompts[:1], SEEDED)[0]
    engine = Engine(make_config(max_batched_tokens=40), checkpoint)
    handle = submit(engine, prompts[0], SEEDED)
    for prompt in prompts[1:]:
        submit(engine, prompt, SamplingParams(max_tokens=20, temperature=1.5, ignore_eos=True))
    drive(engine)
    assert tokens_of(handle) == alone


def test_a_seed_gives_the_same_output_after_preemptions_and_failed_steps(llama: TinyCheckpoint) -> None:
    prompt = make_prompts(1, seed=11)[0]
    alone = run(Engine(make_config(), llama), [prompt], SEEDED)[0]
    engine = Engine(make_config(), llama)
    handles = [submit(engine, prompt, SEEDED) for _ in range(2)]
    scheduler, sampled, calls = engine._scheduler, engine._computation._sampled, 0

    def sometimes_failing(step: Any) -> Any:
        nonlocal calls
        calls += 1
        outcome = sampled(step)
        if calls % 3 == 0 and len(step) > 1:
            raise MemoryError("after the choice was made")
        return outcome

    engine._computation._sampled = sometimes_failing  # type: ignore[method-assign]
    while engine.has_work:
        engine.step()
        if scheduler.running and calls % 4 == 0:
            scheduler.preempt(scheduler.running[0])
    assert engine.metrics()["num_preemptions_total"] > 2
    assert [tokens_of(handle) for handle in handles] == [alone, alone]


def test_different_seeds_differ_and_so_do_requests_without_one(llama: TinyCheckpoint) -> None:
    prompt = PromptTokens(tuple(range(40)))
    choices: list[list[int | None]] = [[0, 1, 2, 3], [None] * 4]
    for seeds in choices:
        wishes = [SamplingParams(20, 1.0, seed=seed, ignore_eos=True) for seed in seeds]
        outputs = {tuple(run(Engine(make_config(), llama), [prompt], wish)[0]) for wish in wishes}
        assert len(outputs) == 4
