"""What only streams over Redis know: processes that die, a Redis that fails, and names that expire."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from search import redis_streams
from search.redis_streams import RedisStreams, current_name
from search.streams import Ending, StreamsUnavailable
from tests.search.stream_stores import GRACE_S, KEPT_S, LEASE_S, Two, new_run, over_redis, redis_url, two_of
from tests.search.test_stream_resumes import collect
from tests.search.test_streams_are_found_from_every_process import found, tell, until

pytestmark = pytest.mark.redis


@pytest.fixture
def two() -> Iterator[Two]:
    with two_of("redis") as both:
        yield both


@pytest.fixture
def client() -> Iterator[Any]:
    with redis.Redis.from_url(redis_url(), decode_responses=True) as opened:
        yield opened


def test_a_stream_whose_process_died_ends_as_lost_in_time(two: Two) -> None:
    run = new_run()
    tell(two.here.open(run), "a", "b")
    follower = found(two, run)
    until(lambda: follower.last == 2)
    two.here.close()
    died = time.monotonic()
    assert asyncio.run(collect(follower)) == [(1, "a"), (2, "b")]
    assert follower.ending is Ending.LOST
    assert time.monotonic() - died < LEASE_S + GRACE_S + 10


def test_a_stream_whose_process_died_before_anyone_came_is_lost_too(two: Two) -> None:
    run = new_run()
    tell(two.here.open(run), "a")
    time.sleep(0.2)
    two.here.close()
    time.sleep(LEASE_S + 0.1)
    follower = found(two, run)
    assert follower.wait(GRACE_S + 10)
    assert follower.ending is Ending.LOST


def test_a_silent_stream_of_a_living_process_is_not_lost(two: Two) -> None:
    run = new_run()
    stream = two.here.open(run)
    assert not found(two, run).wait(3 * (LEASE_S + GRACE_S))
    stream.close()


def test_redis_that_forgot_everything_costs_no_answer(two: Two, client: Any) -> None:
    run = new_run()
    stream = two.here.open(run)
    tell(stream, "a", "b")
    follower = found(two, run)
    until(lambda: follower.last == 2)
    for name in client.scan_iter(f"{current_name(run)}*"):
        client.delete(name)
    tell(stream, "c")
    until(lambda: follower.last == 3)
    until(lambda: two.there.find(run) is follower)
    assert not follower.wait(2 * GRACE_S)
    stream.close()
    assert follower.wait(2)
    assert follower.ending is Ending.COMPLETE


def test_every_name_begins_with_the_organisation_and_expires(two: Two, client: Any) -> None:
    run = new_run()
    stream = two.here.open(run)
    tell(stream, "a")
    found(two, run).stop()
    until(lambda: stream.signal.requested)
    prefix = f"tessera:stream:{run.organization_id}:{run.turn_id}"
    names = list(client.scan_iter(f"*{run.turn_id}*"))
    assert len(names) >= 4
    assert all(name.startswith(prefix) for name in names)
    assert all(0 < client.pttl(name) <= 60_000 for name in names)
    stream.close()
    found(two, run).wait(2)
    time.sleep(KEPT_S + 0.3)
    assert list(client.scan_iter(f"*{run.turn_id}*")) == []


def test_the_events_kept_are_bounded(two: Two, client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_streams, "MOST_EVENTS", 20)
    run = new_run()
    stream = two.here.open(run)
    tell(stream, *["answer.delta"] * 99, "answer.completed")
    stream.close()
    follower = found(two, run)
    assert follower.wait(2)
    numbers = [number for number, _ in asyncio.run(collect(follower))]
    assert numbers[-1] == 100
    (events,) = client.scan_iter(f"{current_name(run)}:*:events")
    assert client.xlen(events) <= 22


def nowhere() -> RedisStreams:
    return RedisStreams("redis://127.0.0.1:1/0")


def test_without_redis_an_answer_is_made_and_read_in_its_own_process() -> None:
    store = nowhere()
    run = new_run()
    stream = store.open(run)
    tell(stream, "a")
    stream.close()
    assert store.find(run) is stream
    assert asyncio.run(collect(stream)) == [(1, "a")]
    with pytest.raises(StreamsUnavailable):
        store.find(new_run())
    store.close()


def test_a_follower_is_cut_and_not_lost_when_redis_goes(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_streams, "CUT_AFTER_S", 0.2)
    run = new_run()
    stream = two.here.open(run)
    follower = found(two, run)
    assert isinstance(two.there, RedisStreams)
    monkeypatch.setattr(two.there, "_redis", redis.Redis.from_url("redis://127.0.0.1:1/0"))
    assert follower.wait(5)
    assert follower.ending is Ending.CUT
    stream.close()


def test_a_follower_comes_back_after_redis_was_away(
    two: Two, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = new_run()
    stream = two.here.open(run)
    follower = found(two, run)
    until(lambda: client.exists(*client.keys(f"{current_name(run)}:*:lease") or ["none"]))
    right = {store: store._redis for store in (two.here, two.there)}  # type: ignore[attr-defined]
    wrong = redis.Redis.from_url("redis://127.0.0.1:1/0")
    monkeypatch.setattr(two.here, "_redis", wrong)
    time.sleep(0.1)
    client.delete(*client.keys(f"{current_name(run)}:*:lease"))
    time.sleep(GRACE_S / 2)
    monkeypatch.setattr(two.there, "_redis", wrong)
    time.sleep(1.0)
    tell(stream, "a")
    monkeypatch.setattr(two.there, "_redis", right[two.there])
    time.sleep(GRACE_S / 2)
    monkeypatch.setattr(two.here, "_redis", right[two.here])
    until(lambda: follower.last == 1)
    assert follower.ending is None
    stream.close()


@pytest.mark.parametrize("failing", [False, True])
def test_an_answer_begun_again_is_not_stopped_by_the_name_of_the_one_before(
    two: Two, monkeypatch: pytest.MonkeyPatch, failing: bool
) -> None:
    run = new_run()
    before = two.here.open(run)
    tell(before, "before")
    before.close()
    found(two, run).wait(2)

    assert isinstance(two.here, RedisStreams)
    right = two.here._redis.set

    def slow(*args: Any, **options: Any) -> Any:
        time.sleep(4 * redis_streams.TICK_S)  # the thread that carries looks at the name meanwhile
        if failing:
            raise redis.ConnectionError("away for a moment")
        return right(*args, **options)

    with monkeypatch.context() as patched:
        patched.setattr(two.here._redis, "set", slow)
        again = two.here.open(run)
    tell(again, "again")
    until(lambda: found(two, run).ending is None and found(two, run).last == 1)
    time.sleep(4 * redis_streams.TICK_S)
    assert not again.signal.requested
    again.close()
    assert asyncio.run(collect(found(two, run))) == [(1, "again")]


def test_a_process_that_streams_nothing_starts_no_thread() -> None:
    store = over_redis()
    store.close()
    assert store._thread is None
