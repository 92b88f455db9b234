"""The contract of both stores: what one process writes, every process reads, resumes and stops."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from inference.errors import Overloaded
from search import streams
from search.generating import StopSignal
from search.streams import Ending, Event, RunKey, Stream
from tests.search.stream_stores import ABANDONED_S, KEPT_S, ORGANIZATION, Two, new_run, two_of
from tests.search.test_stream_resumes import collect


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.redis)])
def two(request: pytest.FixtureRequest) -> Iterator[Two]:
    with two_of(request.param) as both:
        yield both


def found(two: Two, run: RunKey) -> Stream:
    stream = two.there.find(run)
    assert stream is not None
    return stream


def until(holds: Callable[[], Any], seconds: float = 5.0) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


def tell(stream: Stream, *names: str) -> None:
    for name in names:
        stream.publish((name, {"text": "Grüße\n[1]"}))


def test_a_finished_stream_is_read_with_the_same_numbers_and_words(two: Two) -> None:
    run = new_run()
    stream = two.here.open(run)
    tell(stream, "a", "b", "answer.completed")
    stream.close()

    async def both() -> list[list[bytes]]:
        return [[part async for part in each.read()] for each in (stream, found(two, run))]

    here, there = asyncio.run(both())
    assert here == there
    assert len(there) == 3
    assert b"Gr\xc3\xbc\xc3\x9fe\\n[1]" in there[0]
    assert found(two, run).ending is Ending.COMPLETE


def test_events_arrive_while_they_are_made(two: Two) -> None:
    run = new_run()
    stream = two.here.open(run)
    release = threading.Event()

    def speak() -> None:
        tell(stream, "a")
        release.wait(5)
        tell(stream, "b")
        stream.close()

    async def read() -> list[int]:
        threading.Thread(target=speak).start()
        numbers = []
        async for part in found(two, run).read(ping_every_s=5):
            numbers.append(int(part.split(b"\n")[0].removeprefix(b"id: ")))
            release.set()
        return numbers

    assert asyncio.run(read()) == [1, 2]


def test_a_reader_goes_on_after_its_last_event(two: Two) -> None:
    run = new_run()
    stream = two.here.open(run)
    tell(stream, "a", "b", "c")
    stream.close()
    assert asyncio.run(collect(found(two, run), 2)) == [(3, "c")]


def test_many_events_come_whole_and_in_order(two: Two) -> None:
    run = new_run()
    stream = two.here.open(run)
    tell(stream, *["answer.delta"] * 1500, "answer.completed")
    stream.close()
    told = asyncio.run(collect(found(two, run)))
    assert [number for number, _ in told] == list(range(1, 1502))
    assert told[-1] == (1501, "answer.completed")


def test_who_waits_is_told_of_the_end(two: Two) -> None:
    run = new_run()
    stream = two.here.open(run)
    assert not found(two, run).wait(0.05)
    threading.Timer(0.1, stream.close).start()
    assert found(two, run).wait(5)


def test_a_stop_reaches_the_maker(two: Two) -> None:
    run = new_run()
    stream = two.here.open(run)
    with ThreadPoolExecutor() as threads:  # somebody reads it, so that it is not stopped for lack of readers
        ended = threads.submit(found(two, run).wait, 5)
        found(two, run).stop()
        until(lambda: stream.signal.requested, 2)
        stream.close()
        assert ended.result()


def test_a_stream_that_nobody_reads_is_stopped(two: Two) -> None:
    stream = two.here.open(new_run())
    until(lambda: stream.signal.requested, ABANDONED_S + 1)
    stream.close()


def test_a_stream_that_is_read_elsewhere_goes_on_and_stops_some_time_after(two: Two) -> None:
    run = new_run()
    stream = two.here.open(run)

    async def read() -> bool:
        parts = found(two, run).read(ping_every_s=3 * ABANDONED_S)
        await anext(parts)
        while_read = stream.signal.requested
        await parts.aclose()  # type: ignore[attr-defined]
        return while_read

    assert asyncio.run(read()) is False
    until(lambda: stream.signal.requested, 2 * ABANDONED_S + 1)
    stream.close()


def test_what_is_begun_again_replaces_and_stops_what_was_before(two: Two) -> None:
    run = new_run()
    before = two.here.open(run)
    tell(before, "before")
    reader_of_before = found(two, run)
    with ThreadPoolExecutor() as threads:  # somebody reads it, so that it is not stopped for lack of readers
        ended = threads.submit(reader_of_before.wait, 5)
        until(lambda: reader_of_before.readers)
        again = two.there.open(run)
        until(lambda: before.signal.requested, 2)
        before.close()
        assert ended.result()
    tell(again, "again")
    again.close()
    for store in (two.here, two.there):
        stream = store.find(run)
        assert stream is not None
        assert asyncio.run(collect(stream)) == [(1, "again")]
    assert asyncio.run(collect(reader_of_before)) == [(1, "before")]


def test_another_organisation_finds_nothing_under_the_same_turn(two: Two) -> None:
    run = new_run()
    stream = two.here.open(run)
    tell(stream, "a")
    found(two, run)
    assert two.there.find(RunKey(ORGANIZATION + 1, run.turn_id)) is None
    stream.close()


def test_what_never_began_is_not_found(two: Two) -> None:
    assert two.there.find(new_run()) is None


def test_a_stream_is_forgotten_some_time_after_its_end(two: Two) -> None:
    run = new_run()
    stream = two.here.open(run)
    tell(stream, "a")
    stream.close()
    found(two, run).wait(2)
    time.sleep(KEPT_S + 0.3)
    assert two.there.find(run) is None


def test_more_than_a_process_can_hold_is_refused(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "MOST_RUNNING", 2)
    first, second = two.here.open(new_run()), two.here.open(new_run())
    with pytest.raises(Overloaded):
        two.here.open(new_run())
    first.close()
    two.here.open(new_run()).close()
    second.close()


def test_where_no_thread_can_be_had_nothing_is_left_running(
    two: Two, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(thread: threading.Thread) -> None:
        if thread.name.startswith("answer-"):
            raise RuntimeError("can't start new thread")

    run = new_run()
    two.here.open(new_run()).close()  # what serves the streams has its own thread by now
    monkeypatch.setattr(threading.Thread, "start", start)
    monkeypatch.setattr(streams, "_store", two.here)
    with pytest.raises(Overloaded):
        streams.start(run, lambda stop: iter(()))
    stream = two.here.find(run)
    assert stream is not None
    assert stream.ending is Ending.COMPLETE


@pytest.mark.django_db
def test_a_failure_is_an_event_and_the_end(two: Two) -> None:
    def produce(stop: StopSignal) -> Iterator[Event]:
        yield ("run.created", {})
        raise ValueError("secret detail")

    run = new_run()
    streams.install(two.here)
    try:
        streams.start(run, produce)
    finally:
        streams.install(None)
    assert asyncio.run(collect(found(two, run))) == [(1, "run.created"), (2, "error")]
