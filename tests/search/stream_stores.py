"""The stores of streams, each as two processes of an installation see it."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import redis

from search.redis_streams import RedisStreams
from search.streams import MemoryStreams, RunKey, StreamStore

ABANDONED_S = 0.6
LEASE_S = 0.6
GRACE_S = 0.3
KEPT_S = 2.0
ORGANIZATION = 4_000_007
"""No organisation of a test has so high a number, so that its names in Redis can be looked at and removed."""


@dataclass(frozen=True, slots=True)
class Two:
    """``here`` makes the answers, ``there`` is where others come. One process has only itself."""

    here: StreamStore
    there: StreamStore


def new_run(organization_id: int = ORGANIZATION) -> RunKey:
    return RunKey(organization_id, uuid.uuid4())


def redis_url() -> str:
    return os.environ["TESSERA_TEST_REDIS_URL"]


def over_redis() -> RedisStreams:
    return RedisStreams(
        redis_url(), abandoned_after_s=ABANDONED_S, kept_s=KEPT_S, lease_s=LEASE_S, grace_s=GRACE_S
    )


@contextmanager
def two_of(kind: str) -> Iterator[Two]:
    if kind == "memory":
        one = MemoryStreams(abandoned_after_s=ABANDONED_S, kept_s=KEPT_S)
        yield Two(one, one)
        return
    two = Two(over_redis(), over_redis())
    try:
        yield two
    finally:
        two.here.close()
        two.there.close()
        with redis.Redis.from_url(redis_url()) as client:
            for name in client.scan_iter(f"tessera:stream:{ORGANIZATION}:*"):
                client.delete(name)
