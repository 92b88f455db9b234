"""Fixtures of tests whose files lie in an S3 bucket of the test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.ingestion.servers_that_leave import Bucket, Server


@pytest.fixture
def bucket() -> Bucket:
    return Bucket()


@pytest.fixture
def server(bucket: Bucket, settings: Any, storage: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """The bucket's server, which is there, as the storage of the product."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "only-for-this-test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    server = Server(bucket.handler())
    server.come()
    options = {"bucket_name": "tessera", "endpoint_url": f"http://127.0.0.1:{server.port}"}
    settings.STORAGES = {
        **settings.STORAGES,
        "default": {"BACKEND": "config.s3_files.S3Files", "OPTIONS": options},
    }
    yield server
    server.leave()
