from __future__ import annotations

import pytest

from inference.engine.engine import Engine
from inference.engine.handle import RequestHandle
from inference.request import Delta, Finished, Priority, PromptTokens, Share
from inference.scheduling.fair_queue import AGEING_S
from tests.engine.tiny import ACME, GLOBEX, TinyCheckpoint, drive, greedy, make_config, make_prompts, submit

PROMPT = PromptTokens(tuple(range(20)))


def progress(handles: list[RequestHandle]) -> int:
    """Tokens delivered so far."""
    events = [event for handle in handles for event in handle._events]
    return sum(len(event.token_ids) for event in events if isinstance(event, Delta))


def done(handle: RequestHandle) -> bool:
    return isinstance(handle.finished, Finished)


def test_a_flood_of_one_share_does_not_make_another_wait(llama: TinyCheckpoint) -> None:
    engine = Engine(make_config(max_running_requests=4), llama)
    flood = [submit(engine, PROMPT, greedy(60), share=ACME) for _ in range(30)]
    for _ in range(5):
        engine.step()
    single = submit(engine, PROMPT, greedy(10), share=GLOBEX)
    for _ in range(12):
        engine.step()
    assert done(single)
    assert not any(map(done, flood))
    drive(engine)
    assert all(map(done, flood))


def test_a_newcomers_prompt_is_not_cut_up_between_those_of_a_flood(llama: TinyCheckpoint) -> None:
    engine = Engine(make_config(max_running_requests=8), llama)
    *prompts, newcomer, comes_back = make_prompts(32, shortest=400, longest=401)
    flood = [submit(engine, prompt, greedy(30), share=ACME) for prompt in prompts]
    for prompt in (newcomer, comes_back):
        for _ in range(5):  # in which the one that comes back pays what it owes
            engine.step()
        while not any(1 < sequence.num_uncomputed < 400 for sequence in engine._scheduler.running):
            engine.step()
        single = submit(engine, prompt, greedy(1), share=GLOBEX)
        steps = 0
        while not done(single):
            engine.step()
            steps += 1
        assert steps == 2, "400 tokens fit into two steps of 256"
    assert not any(map(done, flood[15:]))
    drive(engine)


def test_slots_follow_the_weights(llama: TinyCheckpoint) -> None:
    engine = Engine(make_config(max_running_requests=4, max_queued_requests=200, prefix_caching=False), llama)
    light = [submit(engine, PROMPT, greedy(8), share=Share("light", weight=1.0)) for _ in range(40)]
    heavy = [submit(engine, PROMPT, greedy(8), share=Share("heavy", weight=3.0)) for _ in range(40)]
    for _ in range(80):
        engine.step()
    assert not done(heavy[-1])
    assert progress(heavy) / progress(light) == pytest.approx(3, rel=0.25)
    drive(engine)


def test_a_share_that_was_idle_has_no_credit(llama: TinyCheckpoint) -> None:
    engine = Engine(make_config(max_running_requests=2, max_queued_requests=200), llama)
    early = [submit(engine, PROMPT, greedy(12), share=ACME) for _ in range(60)]
    for _ in range(100):
        engine.step()
    before = progress(early)
    late = [submit(engine, PROMPT, greedy(12), share=GLOBEX) for _ in range(60)]
    for _ in range(60):
        engine.step()
    assert progress(early) - before == pytest.approx(progress(late), rel=0.3)
    drive(engine)


def test_interactive_work_overtakes_batch_work(llama: TinyCheckpoint) -> None:
    engine = Engine(make_config(max_running_requests=2), llama)
    batch = [submit(engine, PROMPT, greedy(50), priority=Priority.BATCH) for _ in range(6)]
    engine.step()
    urgent = submit(engine, PROMPT, greedy(5), priority=Priority.INTERACTIVE)
    for _ in range(6):
        engine.step()
    assert done(urgent)
    drive(engine)
    assert [handle.result(0)[1].usage.completion_tokens for handle in batch] == [50] * 6


def test_a_flood_of_interactive_work_does_not_starve_batch_work_for_ever(
    llama: TinyCheckpoint,
) -> None:
    now = [0.0]
    engine = Engine(make_config(max_running_requests=2), llama, clock=lambda: now[0])
    patient = submit(engine, PROMPT, greedy(4), share=GLOBEX, priority=Priority.BATCH)
    waited = None
    for step in range(400):
        while len(engine._requests) < 6:
            submit(engine, PROMPT, greedy(4), share=ACME, priority=Priority.INTERACTIVE)
            engine.step()
        now[0] += 1.0
        engine.step()
        engine.check_integrity()
        if done(patient):
            waited = step
            break
    assert waited is not None
    assert waited > AGEING_S, "it overtook interactive work at once"
    assert waited < 4 * AGEING_S


def test_a_backlog_of_batch_work_does_not_become_interactive_as_a_whole(llama: TinyCheckpoint) -> None:
    now = [0.0]
    config = make_config(max_running_requests=2, max_queued_requests=200)
    engine = Engine(config, llama, clock=lambda: now[0])
    backlog = [submit(engine, PROMPT, greedy(40), priority=Priority.BATCH) for _ in range(60)]
    steps = round(6 * AGEING_S)
    for _ in range(steps):
        now[0] += 1.0
        engine.step()
    risen = [item for item in engine._scheduler.waiting if item.priority < Priority.BATCH]
    assert len(risen) <= steps / AGEING_S
    urgent = submit(engine, PROMPT, greedy(5))
    for _ in range(15):
        now[0] += 1.0
        engine.step()
    assert done(urgent), "it waits behind batch work that came before it"
    drive(engine)
    assert all(map(done, backlog))


def test_interactive_work_gets_blocks_that_batch_work_holds(llama: TinyCheckpoint) -> None:
    engine = Engine(make_config(kv_cache_tokens=256, prefix_caching=False), llama)
    batch = [submit(engine, PROMPT, greedy(60), priority=Priority.BATCH) for _ in range(8)]
    for _ in range(20):
        engine.step()
    urgent = submit(engine, PromptTokens((5,) * 200), greedy(5))
    for _ in range(6):
        engine.step()
        engine.check_integrity()
    assert done(urgent)
    drive(engine)
    assert all(map(done, batch))


def test_decodes_go_on_beside_a_long_prompt(llama: TinyCheckpoint) -> None:
    engine = Engine(make_config(max_batched_tokens=32), llama)
    talking = [submit(engine, PROMPT, greedy(40)) for _ in range(3)]
    engine.step()
    engine.step()
    engine.step()
    before = progress(talking)
    submit(engine, PromptTokens((7,) * 300), greedy(2))
    for _ in range(8):
        engine.step()
    assert progress(talking) - before == 3 * 8
    drive(engine)


def test_metrics_tell_what_ran_together(llama: TinyCheckpoint) -> None:
    engine = Engine(make_config(), llama)
    for share in (ACME, GLOBEX):
        submit(engine, PROMPT, greedy(10), share=share)
    engine.step()
    running = engine.metrics()
    assert running["num_requests_running"] == 2
    assert running["kv_cache_usage_perc"] == 4 / 256
    drive(engine)
    metrics = engine.metrics()
    assert metrics["prompt_tokens_total"] == 40
    assert metrics["generation_tokens_total"] == 20
    assert metrics["prefix_cache_queries"] == 40
    assert metrics["steps_total"] == 10
    assert metrics["max_decodes_in_a_step"] == 2
    assert metrics["num_requests_running"] == metrics["num_requests_waiting"] == 0
