from __future__ import annotations

import random

import pytest

from inference.engine.engine import Engine
from inference.engine.handle import RequestHandle
from inference.errors import Overloaded
from inference.request import Finished, Priority, PromptTokens, Share
from tests.engine.drafts import Oracle
from tests.engine.tiny import TinyCheckpoint, drive, greedy, make_config, run

LONGEST = 60


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("weight_format", ["fp32", "int8", "fp32 with drafts"])
def test_random_submits_aborts_and_preemptions_lose_no_block_and_no_request(
    llama: TinyCheckpoint, monkeypatch: pytest.MonkeyPatch, seed: int, weight_format: str
) -> None:
    chance = random.Random(seed)
    weight_format, drafts, _ = weight_format.partition(" with drafts")
    system = tuple(chance.randrange(198) for _ in range(70))
    bodies = [tuple(chance.randrange(198) for _ in range(chance.randrange(1, 160))) for _ in range(60)]
    prompts = [PromptTokens(system + body, public_prefix=70) for body in bodies]
    if drafts:
        Oracle(prompts, _outputs(llama, prompts), wrong=0.2, seed=seed).install(monkeypatch)
    engine = Engine(
        make_config(
            weight_format=weight_format,
            speculation=4 if drafts else 0,
            kv_cache_tokens=512,
            max_batched_tokens=96,
            max_running_requests=6,
            max_queued_requests=24,
        ),
        llama,
    )
    handles: list[RequestHandle] = []
    refused = 0
    for _step in range(250):
        for _ in range(chance.choice([0, 0, 1, 3])):
            key = chance.choice(["acme", "globex", "initech"])
            share = Share(key, weight=chance.choice([0.5, 1.0, 4.0]), cache_salt=key.encode())
            try:
                handles.append(
                    engine.submit(
                        chance.choice(prompts),
                        greedy(chance.randrange(1, LONGEST)),
                        share=share,
                        priority=chance.choice(list(Priority)),
                    )
                )
            except Overloaded:
                refused += 1
        if handles and chance.random() < 0.2:
            chance.choice(handles).abort()
        engine.step()
        engine.check_integrity()
    drive(engine)

    ends = [[event for event in handle if isinstance(event, Finished)] for handle in handles]
    assert all(len(end) == 1 for end in ends), "a request has no end, or two"
    reasons = {end[0].reason for end in ends}
    assert reasons == {"length", "aborted"}
    metrics = engine.metrics()
    assert metrics["num_preemptions_total"] > 0, "the traffic was too light to preempt anybody"
    assert metrics["prefix_cache_hits"] > 0
    assert refused > 0
    assert metrics["e2e_request_latency_seconds_count"] == len(handles)
    assert metrics["kv_cache_usage_perc"] == 0
    assert metrics["num_requests_waiting"] == metrics["num_requests_running"] == 0
    assert bool(drafts) == (metrics["spec_decode_num_accepted_tokens_total"] > 0)


def _outputs(llama: TinyCheckpoint, prompts: list[PromptTokens]) -> list[list[int]]:
    engine = Engine(make_config(kv_cache_tokens=65_536, max_queued_requests=200), llama)
    return run(engine, prompts, greedy(LONGEST))
