"""Streams that every process of an installation can read and stop: their events lie in Redis for a while.

One thread per process carries everything, in one round trip every ``TICK_S`` while there is something to carry:
new events of the answers made here go out, events of the answers followed here come in. What always holds:
making and reading an answer never wait for Redis, and readers in the making process need none; every name in Redis
begins with the organisation and expires; the event with number n has the id ``n-0``, and the end ``n-1``; the
process that makes an answer renews a lease, and who follows an answer without lease and end calls it lost.

Redis streams with ids of one's own: https://redis.io/docs/latest/commands/xadd/
"""

from __future__ import annotations

import json
import logging
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from search.streams import (
    ABANDONED_AFTER_S,
    KEPT_S,
    MOST_EVENTS,
    Ending,
    RunKey,
    Stream,
    StreamsUnavailable,
    refuse_too_many,
)

logger = logging.getLogger(__name__)

TICK_S = 0.05
TIMEOUT_S = 2.0
LEASE_S = 6.0
GRACE_S = 2.0
CUT_AFTER_S = 5.0
PAUSE_AFTER_ERROR_S = 0.5
AT_ONCE = 500
MOST_FOLLOWED = 1024
FOLLOWED_KEPT_S = 30.0
STOP_KEPT_S = 60


@dataclass(frozen=True, slots=True)
class _Names:
    """The names in Redis of one run of a turn. ``current`` is the turn's and holds the id of its newest run."""

    run: RunKey
    id: str

    @property
    def current(self) -> str:
        return current_name(self.run)

    def __call__(self, part: str) -> str:
        return f"{self.current}:{self.id}:{part}"


def current_name(run: RunKey) -> str:
    """Where the id of a turn's newest run is kept. All names of the run begin with this one."""
    return f"{organization_prefix(run.organization_id)}{run.turn_id}"


def organization_prefix(organization_id: int) -> str:
    """All names of an organisation begin with it."""
    return f"tessera:stream:{organization_id}:"


@dataclass(slots=True)
class _Written:
    """An answer that this process makes."""

    name: _Names
    stream: Stream
    read_at: float
    claimed: bool | None = None
    """Whether Redis names this run the turn's newest: None while it is asked to, False where that failed."""
    shipped: int = 0
    renewed_at: float = float("-inf")
    done: bool = False


@dataclass(slots=True)
class _Followed:
    """An answer that another process makes, as far as it came here."""

    name: _Names
    used_at: float
    stream: Stream = field(default_factory=Stream)
    lease_missing_since: float | None = None
    told_at: float = float("-inf")
    stop_told: bool = False


class _Batch:
    """Commands that go to Redis together, each with what is done with its result."""

    def __init__(self, client: redis.Redis) -> None:
        self.commands: Any = client.pipeline()  # one transaction: no name is left without its expiry
        self._then: list[Callable[[Any], None]] = []

    def then(self, act: Callable[[Any], None], commands: int = 1) -> None:
        """Does ``act`` with the result of the newest command; those before it are only checked."""
        self._then += [_ignore] * (commands - 1) + [act]

    def send(self) -> None:
        """Raises ``redis.RedisError`` for what failed; an event that is there already has not failed."""
        if not self._then:
            return
        for act, result in zip(self._then, self.commands.execute(raise_on_error=False), strict=True):
            if isinstance(result, Exception) and "equal or smaller" not in str(result):
                raise result
            act(result)


class RedisStreams:
    """The :class:`search.streams.StreamStore` over a Redis server that all processes share.

    A stream found in another process ends as ``LOST`` within ``lease_s + grace_s`` and a tick after its
    process died.
    """

    def __init__(
        self,
        url: str,
        *,
        abandoned_after_s: float = ABANDONED_AFTER_S,
        kept_s: float = KEPT_S,
        lease_s: float = LEASE_S,
        grace_s: float = GRACE_S,
    ) -> None:
        retry = Retry(NoBackoff(), 1)
        self._redis = redis.Redis.from_url(
            url,
            decode_responses=True,
            socket_timeout=TIMEOUT_S,
            socket_connect_timeout=TIMEOUT_S,
            retry=retry,
        )
        self._abandoned_after_s = abandoned_after_s
        self._kept_ms = int(kept_s * 1000)
        self._lease_s = lease_s
        self._grace_s = grace_s
        self._written: dict[_Names, _Written] = {}
        self._followed: dict[_Names, _Followed] = {}
        self._awake = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = False

    def open(self, run: RunKey) -> Stream:
        with self._awake:
            self._forget()
            refuse_too_many(written.stream for written in self._written.values())
            before = [written.stream for name, written in self._written.items() if name.run == run]
            name = _Names(run, uuid.uuid4().hex)
            written = self._written[name] = _Written(name, Stream(), read_at=time.monotonic())
            self._wake()
        for stream in before:
            stream.stop()
        try:
            self._redis.set(name.current, name.id, px=self._kept_ms)
            written.claimed = True
        except redis.RedisError as error:
            written.claimed = False
            logger.warning("an answer begins that only this process can stream: %s", error)
        return written.stream

    def find(self, run: RunKey) -> Stream | None:
        try:
            current: Any = self._redis.get(current_name(run))
        except redis.RedisError as error:
            own = self._own(run)
            if own is None:
                raise StreamsUnavailable(str(error)) from error
            return own
        if current is None:
            return self._own(run)
        name = _Names(run, str(current))
        with self._awake:
            self._forget()
            if name in self._written:
                return self._written[name].stream
            followed = self._followed.get(name)
            if followed is None or followed.stream.ending is Ending.CUT:
                if len(self._followed) >= MOST_FOLLOWED:
                    raise StreamsUnavailable("This process follows as many answers as it can.")
                followed = self._followed[name] = _Followed(name, used_at=0.0)
                self._wake()
            followed.used_at = time.monotonic()
            return followed.stream

    def forget_organization(self, organization_id: int) -> None:
        with self._awake:
            names = [name for name in self._written if name.run.organization_id == organization_id]
            for stream in [self._written.pop(name).stream for name in names]:
                stream.stop()
        try:
            for key in self._redis.scan_iter(organization_prefix(organization_id) + "*", count=AT_ONCE):
                self._redis.unlink(key)
        except redis.RedisError as error:
            raise StreamsUnavailable(str(error)) from error

    def close(self) -> None:
        with self._awake:
            self._closed = True
            self._awake.notify_all()
        if self._thread is not None:
            self._thread.join(2 * TIMEOUT_S)
        self._redis.close()

    def _own(self, run: RunKey) -> Stream | None:
        """The newest stream of the run that this process writes or wrote."""
        with self._awake:
            own = [written.stream for name, written in self._written.items() if name.run == run]
            return own[-1] if own else None

    def _forget(self) -> None:
        now = time.monotonic()
        for name, written in list(self._written.items()):
            ended = written.stream.ended_at
            if ended is not None and now - ended > self._kept_ms / 1000:
                del self._written[name]
        for name, followed in list(self._followed.items()):
            if not followed.stream.readers and now - followed.used_at > FOLLOWED_KEPT_S:
                del self._followed[name]

    # -- the thread that carries

    def _wake(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._carry, name="streams", daemon=True)
            self._thread.start()
        self._awake.notify_all()

    def _carry(self) -> None:
        failing_since: float | None = None
        while True:
            with self._awake:
                self._awake.wait_for(lambda: self._closed or self._busy())
                if self._closed:
                    return
            pause = TICK_S
            try:
                self._tick()
                failing_since = None
            except redis.RedisError as error:
                if failing_since is None:
                    failing_since = time.monotonic()
                    logger.warning(
                        "answers are streamed by their own process only, as Redis fails: %s", error
                    )
                self._stay_apart(time.monotonic() - failing_since)
                pause = PAUSE_AFTER_ERROR_S
            except Exception:
                logger.exception("streams were not carried; they are tried again")
                pause = PAUSE_AFTER_ERROR_S
            time.sleep(pause)

    def _busy(self) -> bool:
        return any(not written.done for written in self._written.values()) or any(
            followed.stream.ending is None for followed in self._followed.values()
        )

    def _tick(self) -> None:
        now = time.monotonic()
        with self._awake:
            self._forget()
            written = [each for each in self._written.values() if not each.done]
            followed = [each for each in self._followed.values() if each.stream.ending is None]
        batch = _Batch(self._redis)
        for outgoing in written:
            self._ship(batch, outgoing, now)
        for incoming in followed:
            self._fetch(batch, incoming, now)
        batch.send()

    def _ship(self, batch: _Batch, written: _Written, now: float) -> None:
        name, stream, commands = written.name, written.stream, batch.commands
        ended = stream.ending is not None
        events = stream.after(written.shipped, AT_ONCE)
        for number, (event, data) in events:
            values = {"event": event, "data": json.dumps(data, ensure_ascii=False)}
            commands.xadd(name("events"), values, id=f"{number}-0", maxlen=MOST_EVENTS + 1, approximate=False)
            batch.then(lambda _, number=number: setattr(written, "shipped", number))  # type: ignore[misc]
        if events:
            commands.pexpire(name("events"), self._kept_ms)
            batch.then(_ignore)
        if written.claimed is False:
            commands.set(name.current, name.id, px=self._kept_ms)
            batch.then(lambda _: setattr(written, "claimed", True))
        if now - written.renewed_at > self._lease_s / 6:
            commands.set(name("lease"), 1, px=int(self._lease_s * 1000))
            commands.set(name.current, name.id, nx=True, px=self._kept_ms)
            commands.pexpire(name.current, self._kept_ms)
            commands.pexpire(name("events"), self._kept_ms)
            batch.then(lambda _: setattr(written, "renewed_at", now), 4)
        if ended and len(events) < AT_ONCE:
            commands.xadd(name("events"), {"event": ""}, id=f"{stream.last}-1")
            commands.pexpire(name("events"), self._kept_ms)
            commands.pexpire(name.current, self._kept_ms)
            commands.delete(name("lease"), name("stop"), name("readers"))
            batch.then(lambda _: setattr(written, "done", True), 4)
            return
        if written.claimed:  # before that, the name may still be an earlier run's
            commands.get(name.current)
            batch.then(lambda id: self._stop_if(written, id not in (None, name.id)))
        commands.exists(name("stop"))
        batch.then(lambda asked: self._stop_if(written, bool(asked)))
        commands.exists(name("readers"))
        batch.then(lambda others: self._stop_if_abandoned(written, bool(others), now))

    def _stop_if(self, written: _Written, asked: bool) -> None:
        if asked and not written.stream.signal.requested:
            written.stream.stop()

    def _stop_if_abandoned(self, written: _Written, others: bool, now: float) -> None:
        if others or written.stream.readers:
            written.read_at = now
        self._stop_if(written, now - written.read_at > self._abandoned_after_s)

    def _fetch(self, batch: _Batch, followed: _Followed, now: float) -> None:
        name, stream, commands = followed.name, followed.stream, batch.commands
        commands.xrange(name("events"), min=f"({stream.last}-0", count=AT_ONCE)
        batch.then(lambda entries: _take(stream, entries))
        commands.exists(name("lease"))
        batch.then(lambda alive: self._lose_without(followed, bool(alive), now))
        if stream.readers and now - followed.told_at > self._abandoned_after_s / 10:
            commands.set(name("readers"), 1, px=int(self._abandoned_after_s * 1000 / 3))
            batch.then(lambda _: setattr(followed, "told_at", now))
        if stream.signal.requested and not followed.stop_told:
            commands.set(name("stop"), 1, ex=STOP_KEPT_S)
            batch.then(lambda _: setattr(followed, "stop_told", True))

    def _lose_without(self, followed: _Followed, alive: bool, now: float) -> None:
        if alive or followed.stream.ending is not None:
            followed.lease_missing_since = None
        elif followed.lease_missing_since is None:
            followed.lease_missing_since = now
        elif now - followed.lease_missing_since > self._grace_s:
            followed.stream.close(Ending.LOST)

    def _stay_apart(self, failing_s: float) -> None:
        """What was not heard while Redis failed counts neither as silence nor as death."""
        now = time.monotonic()
        with self._awake:
            for written in self._written.values():
                written.read_at = now
            followed = list(self._followed.values())
        for each in followed:
            each.lease_missing_since = None
            if failing_s > CUT_AFTER_S:
                each.stream.close(Ending.CUT)


def _take(stream: Stream, entries: Any) -> None:
    for id, values in entries:
        number, _, part = id.partition("-")
        if part == "1":
            stream.close()
        elif int(number) > stream.last:
            stream.publish((values["event"], json.loads(values["data"])), int(number))


def _ignore(_: Any) -> None: ...
