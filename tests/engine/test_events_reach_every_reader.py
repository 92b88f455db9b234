from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from inference.engine.engine import Engine
from inference.errors import EngineStopped
from inference.request import Delta, Finished, PromptTokens
from tests.engine.tiny import TinyCheckpoint, drive, greedy, letters, make_config, make_prompts, run, submit

PROMPTS = make_prompts(6, seed=21)


@pytest.fixture
def engine(llama: TinyCheckpoint) -> Iterator[Engine]:
    engine = Engine.start(make_config(), llama)
    yield engine
    engine.stop()


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, "it does not happen"
        time.sleep(0.005)


@pytest.fixture(scope="module")
def wanted(llama: TinyCheckpoint) -> list[str]:
    return [letters(tokens) for tokens in run(Engine(make_config(), llama), PROMPTS)]


def test_threads_read_deltas_and_one_end(engine: Engine, wanted: list[str]) -> None:
    texts: dict[int, str] = {}

    def read(index: int) -> None:
        events = list(submit(engine, PROMPTS[index]))
        assert [type(event) for event in events].count(Finished) == 1
        assert isinstance(events[-1], Finished)
        texts[index] = "".join(event.text for event in events if isinstance(event, Delta))

    threads = [threading.Thread(target=read, args=(index,)) for index in range(len(PROMPTS))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert [texts[index] for index in range(len(PROMPTS))] == wanted


def test_coroutines_read_the_same(engine: Engine, wanted: list[str]) -> None:
    async def read(prompt: PromptTokens) -> str:
        events = [event async for event in submit(engine, prompt)]
        assert isinstance(events[-1], Finished)
        return "".join(event.text for event in events if isinstance(event, Delta))

    async def read_all() -> list[str]:
        return await asyncio.wait_for(asyncio.gather(*map(read, PROMPTS)), 30)

    assert asyncio.run(read_all()) == wanted


def test_result_can_be_asked_again_after_a_time_out(llama: TinyCheckpoint, wanted: list[str]) -> None:
    engine = Engine(make_config(), llama)
    handle = submit(engine, PROMPTS[0])
    for _ in range(5):
        engine.step()
    with pytest.raises(TimeoutError):
        handle.result(0.01)
    drive(engine)
    text, end = handle.result(0)
    assert text == wanted[0]
    assert end.reason == "length"
    assert end.usage.prompt_tokens == len(PROMPTS[0].token_ids)
    assert end.usage.completion_tokens == 24
    assert handle.result(0) == ("", end)


def test_a_slow_reader_does_not_hold_up_the_others(engine: Engine) -> None:
    slow = iter(submit(engine, PROMPTS[0], greedy(200)))
    next(slow)
    assert submit(engine, PROMPTS[1]).result(20)[1].reason == "length"
    assert len([event for event in slow if isinstance(event, Delta)]) == 199


def test_leaving_a_loop_early_aborts(engine: Engine) -> None:
    for _event in submit(engine, PROMPTS[0], greedy(390)):
        break
    wait_until(lambda: engine.metrics()['request_success_total{finished_reason="abort"}'] == 1)


def test_closing_an_async_iterator_aborts(engine: Engine) -> None:
    async def read_one() -> None:
        iterator = submit(engine, PROMPTS[0], greedy(390)).__aiter__()
        await iterator.__anext__()
        await iterator.aclose()

    asyncio.run(read_one())
    wait_until(lambda: engine.metrics()['request_success_total{finished_reason="abort"}'] == 1)


def test_a_cancelled_coroutine_aborts(engine: Engine) -> None:
    async def read() -> None:
        async for _event in submit(engine, PROMPTS[0], greedy(390)):
            pass

    async def cancel() -> None:
        task = asyncio.create_task(read())
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())
    wait_until(lambda: engine.metrics()['request_success_total{finished_reason="abort"}'] == 1)


def test_aborting_twice_is_aborting_once(llama: TinyCheckpoint) -> None:
    engine = Engine(make_config(), llama)
    handle = submit(engine, PROMPTS[0])
    engine.step()
    handle.abort()
    handle.abort()
    drive(engine)
    handle.abort()
    drive(engine)
    ends = [event for event in handle if isinstance(event, Finished)]
    assert [end.reason for end in ends] == ["aborted"]
    assert ends[0].usage.completion_tokens == 1


def test_stop_ends_everybody_and_refuses_newcomers(engine: Engine) -> None:
    handles = [submit(engine, prompt, greedy(390)) for prompt in PROMPTS]
    engine.stop()
    ends = [handle.result(5)[1] for handle in handles]
    assert {end.reason for end in ends} == {"error"}
    assert all(isinstance(end.error, EngineStopped) for end in ends)
    with pytest.raises(EngineStopped):
        submit(engine, PROMPTS[0])


def test_when_the_thread_dies_all_callers_are_told(llama: TinyCheckpoint) -> None:
    engine = Engine.start(make_config(max_restarts=0), llama)
    handles = [submit(engine, prompt, greedy(390)) for prompt in PROMPTS]
    next(iter_without_abort := iter(handles[0]))

    def fail(now: float) -> None:
        raise RuntimeError("the books are wrong")

    engine._scheduler.schedule = fail  # type: ignore[method-assign,assignment]
    ends = [handle.result(20)[1] for handle in handles]
    assert all(isinstance(end.error, EngineStopped) for end in ends)
    assert isinstance(list(iter_without_abort)[-1], Finished)
    with pytest.raises(EngineStopped):
        submit(engine, PROMPTS[0])


def test_one_request_that_fails_takes_nobody_with_it(llama: TinyCheckpoint, wanted: list[str]) -> None:
    engine = Engine(make_config(), llama)
    bad, good = submit(engine, PROMPTS[1]), submit(engine, PROMPTS[0])
    engine.step()

    def explode(token_id: int) -> object:
        raise KeyError(token_id)

    engine._requests[bad.request_id].output.push = explode  # type: ignore[method-assign,assignment]
    drive(engine)
    assert bad.result(0)[1].reason == "error"
    assert good.result(0)[0] == wanted[0]
