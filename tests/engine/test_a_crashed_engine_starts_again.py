"""A crash of the engine's own thread: all callers are told, and it starts again, but not for ever."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import httpx
import pytest

from inference.engine import supervisor
from inference.engine.engine import Engine
from inference.engine.supervisor import WINDOW_S, Supervisor
from inference.errors import EngineStopped, NotReady
from inference.runtime import Runtime
from inference.service import create_app
from tests.engine.test_a_failed_service_says_so import KEY, until
from tests.engine.tiny import TinyCheckpoint, greedy, make_config, make_prompts, submit
from tests.inference.test_remote_equals_in_process import serving

PROMPTS = make_prompts(5, seed=3)


@pytest.fixture
def now() -> list[float]:
    return [0.0]


@pytest.fixture
def engine(llama: TinyCheckpoint, now: list[float]) -> Iterator[Engine]:
    """On a thread of its own, and on a clock that stands."""
    engine = Engine(make_config(max_running_requests=3), llama, clock=lambda: now[0])
    engine._thread = threading.Thread(target=engine._loop, daemon=True)
    engine._thread.start()
    yield engine
    engine.stop()
    engine._thread.join(10)
    assert not engine._thread.is_alive()


def crash(engine: Engine) -> None:
    """Breaks the scheduler's books under a step."""

    def broken(now: float) -> None:
        raise KeyError("the books are wrong")

    engine._scheduler.schedule = broken  # type: ignore[method-assign,assignment]
    engine._inbox.put(None)


def end_the_pause(engine: Engine, now: list[float]) -> None:
    until(lambda: engine.health == "restarting")
    now[0] += supervisor.PAUSES_S[-1]
    engine._inbox.put(None)
    until(lambda: engine.health != "restarting")


def test_all_callers_are_told_and_the_next_are_served_as_before(engine: Engine, now: list[float]) -> None:
    wanted = submit(engine, PROMPTS[0]).result(20)[0]
    handles = [submit(engine, prompt, greedy(390)) for prompt in PROMPTS]  # of which three run
    until(lambda: engine.metrics()["num_requests_running"] == 3)
    crash(engine)
    for handle in handles:
        assert isinstance(handle.result(20)[1].error, EngineStopped)
    end_the_pause(engine, now)
    text, end = submit(engine, PROMPTS[0]).result(20)
    assert text == wanted
    assert end.usage.cached_tokens == 0, "the prefix cache survived books that may be wrong"
    metrics = engine.metrics()
    assert metrics["engine_restarts_total"] == 1
    assert metrics['request_success_total{finished_reason="error"}'] == 5
    assert metrics["num_requests_waiting"] == metrics["num_requests_running"] == metrics["queued_tokens"] == 0
    engine.stop()
    engine.check_integrity()
    assert engine.health != "failed"


def test_readyz_is_red_until_it_serves_again(engine: Engine, now: list[float]) -> None:
    with serving(create_app(Runtime.of(engine), KEY)) as url:
        assert httpx.get(f"{url}/readyz").status_code == 200
        submit(engine, PROMPTS[0], greedy(390))
        crash(engine)
        until(lambda: engine.health == "restarting")
        with pytest.raises(NotReady, match="started again"):
            submit(engine, PROMPTS[0])
        answer = httpx.get(f"{url}/readyz")
        assert (answer.status_code, answer.json()["status"]) == (503, "restarting")
        assert httpx.get(f"{url}/healthz").status_code == 200, "nobody should restart the process"
        refused = httpx.post(
            f"{url}/v1/completions", json={"prompt": [1]}, headers={"Authorization": f"Bearer {KEY}"}
        )
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "not_ready")
        assert "retry-after" in refused.headers
        end_the_pause(engine, now)
        assert httpx.get(f"{url}/readyz").status_code == 200


def test_it_is_red_for_good_when_it_crashes_too_often(engine: Engine, now: list[float]) -> None:
    with serving(create_app(Runtime.of(engine), KEY)) as url:
        for restarts in range(1, 4):
            submit(engine, PROMPTS[0], greedy(390))
            crash(engine)
            end_the_pause(engine, now)
            assert engine.metrics()["engine_restarts_total"] == restarts
        last = submit(engine, PROMPTS[0], greedy(390))
        crash(engine)
        assert isinstance(last.result(20)[1].error, EngineStopped)
        until(lambda: engine.health == "failed")
        with pytest.raises(EngineStopped):
            submit(engine, PROMPTS[0])
        answer = httpx.get(f"{url}/readyz")
        assert (answer.status_code, answer.json()["status"]) == (503, "failed")
        assert httpx.get(f"{url}/healthz").status_code == 503


def test_a_stop_ends_the_pause(engine: Engine) -> None:
    handle = submit(engine, PROMPTS[0], greedy(390))
    crash(engine)
    until(lambda: engine.health == "restarting")
    engine.stop()
    assert handle.result(0)[1].reason == "error"
    assert engine.health != "failed"


def test_restarts_are_forgotten_after_a_while() -> None:
    now = [0.0]
    pauses: list[float] = []
    crashes = iter([0.0, 100.0, 200.0, WINDOW_S + 50.0, WINDOW_S + 60.0])

    def serve() -> None:
        now[0] = next(crashes)
        raise RuntimeError(f"crash at {now[0]}")

    supervised = Supervisor(3, clock=lambda: now[0])
    with pytest.raises(RuntimeError, match=str(WINDOW_S + 60.0)):
        supervised.run(serve, pauses.append)
    assert supervised.restarts == 4
    first, second, third = supervisor.PAUSES_S
    assert pauses == [first, second, third, third]
