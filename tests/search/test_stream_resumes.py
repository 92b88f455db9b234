"""A stream's events are numbered; who comes back misses nothing; what nobody reads is stopped."""

from __future__ import annotations

import asyncio
import json
import threading
import time

import pytest

from search.events import PING, last_event_id
from search.streams import MOST_EVENTS, Ending, Stream


async def collect(stream: Stream, after: int = 0) -> list[tuple[int, str]]:
    return [parse(part) async for part in stream.read(after) if part != PING]


def parse(part: bytes) -> tuple[int, str]:
    fields = dict(line.split(": ", 1) for line in part.decode().strip().split("\n"))
    json.loads(fields["data"])
    return int(fields["id"]), fields["event"]


def told(*names: str) -> Stream:
    stream = Stream()
    for name in names:
        stream.publish((name, {"text": "line\nbreak"}))
    return stream


def test_events_are_numbered_from_one() -> None:
    stream = told("a", "b")
    stream.close()
    assert asyncio.run(collect(stream)) == [(1, "a"), (2, "b")]


def test_a_reader_goes_on_after_its_last_event() -> None:
    stream = told("a", "b", "c")
    stream.close()
    assert asyncio.run(collect(stream, 2)) == [(3, "c")]
    assert asyncio.run(collect(stream, 3)) == []


def test_several_readers_get_everything_while_it_comes() -> None:
    async def read() -> list[list[tuple[int, str]]]:
        stream = told("a")

        def speak() -> None:
            for name in "bcd":
                time.sleep(0.02)
                stream.publish((name, {}))
            stream.close()

        threading.Thread(target=speak).start()
        return list(await asyncio.gather(*(collect(stream) for _ in range(3))))

    assert asyncio.run(read()) == [[(1, "a"), (2, "b"), (3, "c"), (4, "d")]] * 3


def test_silence_is_broken_by_a_ping() -> None:
    async def read() -> bytes:
        stream = Stream()
        parts = stream.read(ping_every_s=0.01)
        first = await anext(parts)
        await parts.aclose()  # type: ignore[attr-defined]
        stream.close()
        return first

    assert asyncio.run(read()) == PING


def test_a_long_stream_forgets_its_beginning_and_keeps_its_numbers() -> None:
    stream = Stream()
    for _ in range(MOST_EVENTS + 10):
        stream.publish(("a", {}))
    stream.publish(("end", {}))
    stream.close()
    numbers = [number for number, _ in asyncio.run(collect(stream))]
    assert len(numbers) <= MOST_EVENTS
    assert numbers == list(range(numbers[0], MOST_EVENTS + 12))
    assert asyncio.run(collect(stream, MOST_EVENTS + 10)) == [(MOST_EVENTS + 11, "end")]


def test_the_first_ending_counts() -> None:
    stream = Stream()
    stream.close(Ending.LOST)
    stream.close()
    assert stream.ending is Ending.LOST


@pytest.mark.parametrize(
    ("header", "number"), [(None, 0), ("7", 7), ("", 0), ("-1", 0), ("x", 0), ("9" * 30, 0)]
)
def test_a_last_event_id_is_a_number_or_nothing(header: str | None, number: int) -> None:
    assert last_event_id(header) == number
