from __future__ import annotations

import pytest

from inference.engine.engine import Engine
from inference.engine.handle import RequestHandle
from inference.request import PromptTokens, Share
from tests.engine.tiny import ACME, GLOBEX, TinyCheckpoint, drive, greedy, make_config, make_prompts, submit

PROMPT = make_prompts(1, shortest=100, longest=101)[0]


def cached_tokens(engine: Engine, handle: RequestHandle) -> int:
    drive(engine)
    return handle.result(0)[1].usage.cached_tokens


def test_another_share_never_hits_private_blocks(llama: TinyCheckpoint) -> None:
    engine = Engine(make_config(), llama)
    assert cached_tokens(engine, submit(engine, PROMPT, share=ACME)) == 0
    assert cached_tokens(engine, submit(engine, PROMPT, share=GLOBEX)) == 0
    assert cached_tokens(engine, submit(engine, PROMPT, share=ACME)) == 96


def test_only_blocks_wholly_inside_the_public_prefix_are_shared(llama: TinyCheckpoint) -> None:
    engine = Engine(make_config(), llama)
    prompt = PromptTokens(PROMPT.token_ids, public_prefix=40)
    cached_tokens(engine, submit(engine, prompt, share=ACME))
    assert cached_tokens(engine, submit(engine, prompt, share=GLOBEX)) == 32


@pytest.mark.parametrize("moment", ["waits", "runs", "was preempted", "was aborted", "has ended"])
def test_nothing_beyond_the_public_prefix_tells_what_another_share_just_asked(
    llama: TinyCheckpoint, moment: str
) -> None:
    engine = Engine(make_config(), llama)
    public = PromptTokens(PROMPT.token_ids[:50] + tuple(range(50)), public_prefix=50)
    cached_tokens(engine, submit(engine, public, share=Share("initech")))
    secret = PromptTokens(PROMPT.token_ids, public_prefix=50)
    victim = submit(engine, secret, greedy(30), share=ACME)
    for _ in range(0 if moment == "waits" else 5):
        engine.step()
    if moment == "was preempted":
        engine._scheduler.preempt(engine._scheduler.running[0])
    elif moment == "was aborted":
        victim.abort()
    elif moment == "has ended":
        drive(engine)
    assert cached_tokens(engine, submit(engine, secret, share=GLOBEX)) == 48
    assert cached_tokens(engine, submit(engine, secret, share=ACME)) == 96, "the control does not hit"


def test_the_same_text_as_public_and_as_private_prefix_is_not_mixed_up(llama: TinyCheckpoint) -> None:
    engine = Engine(make_config(), llama)
    cached_tokens(engine, submit(engine, PROMPT, share=ACME))
    public = PromptTokens(PROMPT.token_ids, public_prefix=100)
    assert cached_tokens(engine, submit(engine, public, share=GLOBEX)) == 0


def test_int8_hits_end_on_the_grid_of_prompt_chunks(llama: TinyCheckpoint) -> None:
    engine = Engine(make_config(weight_format="int8"), llama)
    cached_tokens(engine, submit(engine, PROMPT))
    assert cached_tokens(engine, submit(engine, PROMPT)) == 64


def test_a_flood_of_one_share_does_not_evict_anothers_prefix(llama: TinyCheckpoint) -> None:
    engine = Engine(make_config(kv_cache_tokens=1024), llama)  # 64 blocks
    assert cached_tokens(engine, submit(engine, PROMPT, share=GLOBEX)) == 0
    for flood in make_prompts(40, seed=9, shortest=100, longest=140):
        cached_tokens(engine, submit(engine, flood, greedy(4), share=ACME))
    assert engine._scheduler.kv.pool.cached_of("acme") > 40
    assert cached_tokens(engine, submit(engine, PROMPT, share=GLOBEX)) == 96
