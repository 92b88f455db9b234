"""What a try had indexed before it failed goes with the next one, and a try that writes for long keeps its lease."""

from __future__ import annotations

from typing import Any

import pytest

from ingestion import pipeline, publishing
from ingestion.jobs import Lease, Stage
from search import corpus, reindex
from search.index import IndexFailure
from tenants.models import Organization
from tests.ingestion.corpus_of_acme import Clock, job_of, upload
from tests.ingestion.ready_for_work import models, storage

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("models")]
__all__ = ["models", "storage"]

TEXT = "\n\n".join(f"Paragraph {n} says something of its own about pumps." for n in range(12)).encode()


def test_a_try_with_fewer_passages_leaves_no_point_of_the_one_before(
    acme: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    document = upload(acme, "pumps.txt", TEXT)
    plain = Lease.hand_in

    def fail(lease: Lease) -> None:
        raise IndexFailure("The disk is full.")

    with monkeypatch.context() as first:
        first.setattr(pipeline, "CHUNK_TOKENS", 20)
        first.setattr(Lease, "hand_in", fail)
        pipeline.work_until_idle(clock=clock)
    assert Lease.hand_in is plain
    before = reindex.audit(acme).points
    clock.forward(60)
    pipeline.work_until_idle(clock=clock)
    assert job_of(acme, document).status == "ready"
    after = reindex.audit(acme)
    assert after.clean
    assert 0 < after.points == after.rows < before


def test_the_lease_is_kept_while_rows_and_points_are_written(
    acme: Organization, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    document = upload(acme, "pumps.txt", TEXT)
    told: list[tuple[int, float | None]] = []
    plain = Lease.renew

    def renew(lease: Lease, *, stage: str, done: int = 0, total: int = 0, seconds: Any = None) -> None:
        if stage == Stage.INDEXING:
            told.append((done, seconds))
        plain(lease, stage=stage, done=done, total=total, seconds=seconds)

    monkeypatch.setattr(Lease, "renew", renew)
    monkeypatch.setattr(pipeline, "CHUNK_TOKENS", 20)
    monkeypatch.setattr(pipeline, "PROGRESS_SECONDS", 0)
    monkeypatch.setattr(publishing, "ROWS_PER_SECOND", 0.01)
    monkeypatch.setattr(corpus, "BATCH", 2)
    pipeline.work_until_idle()
    assert job_of(acme, document).status == "ready"
    total = reindex.audit(acme).points
    assert total > 4
    assert {done for done, _ in told} == {0, *range(2, total, 2), total}
    before_the_rows = told[0][1]
    assert before_the_rows is not None
    assert before_the_rows > settings.ENV.lease_seconds + 100 * total
