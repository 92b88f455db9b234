"""The operator's page of ingestion and its metrics: what they say, to whom, and what they never say."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from ingestion import index_counts, jobs, pipeline, publishing, sweeper
from ingestion.models import IndexCount, IngestionJob, Priority
from search.index import close_all, open_index
from search.models import Chunk
from tenants.models import Organization
from tenants.scope import tenant_scope
from tests.ingestion.corpus_of_acme import job_of, upload
from tests.ingestion.long_queues import queue_files
from tests.ingestion.ready_for_work import models, storage
from tests.search.corpus_rows import document

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("storage")]
__all__ = ["models", "storage"]

PAGE = "/admin/queue/"
CANARY = "secret-merger-with-globex.txt"


@pytest.fixture
def operator(signed_in: Any) -> Client:
    client: Client = signed_in(User.objects.create_superuser("operator"))
    return client


def fail(organization: Organization, content: bytes, code: str) -> IngestionJob:
    document = upload(organization, CANARY, content)
    with tenant_scope(organization):
        IngestionJob.objects.filter(document=document).update(
            status="failed", error_code=code, error_message=CANARY, ended_at=timezone.now()
        )
    return job_of(organization, document)


def test_it_shows_queues_work_and_failures_of_everybody(
    acme: Organization, globex: Organization, operator: Client
) -> None:
    queue_files(acme, 3, priority=Priority.BULK)
    queue_files(globex, 2)
    fail(globex, b"one", "timeout")
    lease = jobs.claim()
    assert lease is not None
    lease.renew(stage="embedding", done=1, total=4)
    page = operator.get(PAGE)
    seen = page.context["seen"]
    assert {(q.name, q.single, q.bulk, q.running) for q in seen.queues} == {
        ("Acme", 0, 3, 0),
        ("Globex", 1, 0, 1),
    }
    assert 3500 < seen.oldest_s < 3700
    (running,) = seen.running
    assert (running.organization, running.stage, running.done) == ("Globex", "embedding", 1)
    assert running.silent_s < 60
    assert seen.failures == (("timeout", 1),)
    assert (seen.ready, seen.failed) == ((0, 0, 0), (1, 1, 1))
    text = page.content.decode()
    assert "Acme" in text
    assert "timeout" in text
    assert page["Cache-Control"] == "no-store"
    part = operator.get(PAGE, headers={"HX-Request": "true"}).content.decode()
    assert "<html" not in part
    assert "Globex" in part


def test_failures_of_one_kind_are_tried_again_together(
    acme: Organization, globex: Organization, operator: Client
) -> None:
    again = [fail(acme, b"one", "timeout"), fail(globex, b"two", "timeout")]
    other = fail(acme, b"three", "encrypted")
    old = fail(acme, b"four", "timeout")
    with tenant_scope(acme):
        IngestionJob.objects.filter(id=old.id).update(ended_at=timezone.now() - timedelta(hours=30))
    page = operator.post(f"{PAGE}retry", {"code": "timeout"}, follow=True)
    assert "2 queued again." in page.content.decode()
    for job in again:
        with tenant_scope(job.organization):
            job.refresh_from_db()
        assert (job.status, job.priority) == ("queued", Priority.BULK)
    for job in (other, old):
        with tenant_scope(acme):
            job.refresh_from_db()
        assert job.status == "failed"


def test_the_page_is_the_operators_and_changes_are_the_superusers(
    acme: Organization, alice_client: Client, signed_in: Any
) -> None:
    job = fail(acme, b"one", "timeout")
    staff = signed_in(User.objects.create_user("staff", is_staff=True))
    for client in (Client(), alice_client):
        assert client.get(PAGE)["Location"].startswith("/admin/login/")
        assert client.post(f"{PAGE}retry", {"code": "timeout"}).status_code == 302
        part = client.get(PAGE, headers={"HX-Request": "true"})
        assert (part.status_code, part.content) == (204, b"")
    assert staff.get(PAGE).status_code == 200
    assert "Try again" not in staff.get(PAGE).content.decode()
    assert staff.post(f"{PAGE}retry", {"code": "timeout"}).status_code == 403
    assert staff.get(f"{PAGE}retry").status_code == 405
    with tenant_scope(acme):
        job.refresh_from_db()
    assert job.status == "failed"


def test_the_metrics_say_the_same_by_number(
    acme: Organization, globex: Organization, operator: Client
) -> None:
    queue_files(acme, 3, priority=Priority.BULK)
    fail(globex, b"one", "timeout")
    text = operator.get("/metrics").content.decode()
    for line in (
        "# TYPE tessera_ingestion_queued_files gauge",
        f'tessera_ingestion_queued_files{{organization="{acme.pk}",class="bulk"}} 3.0',
        f'tessera_ingestion_running_files{{organization="{acme.pk}"}} 0.0',
        'tessera_ingestion_failed_files{code="timeout",window="1d"} 1.0',
        'tessera_ingestion_ended_files{status="failed",window="10m"} 1.0',
        "tessera_ingestion_longest_silence_seconds 0.0",
        "tessera_ingestion_indexes_that_differ 0.0",
    ):
        assert line in text.splitlines()
    families = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")]
    assert len(families) == len(set(families))


def test_neither_names_a_document(acme: Organization, operator: Client) -> None:
    fail(acme, b"one", "timeout")
    upload(acme, f"queued {CANARY}", b"two")
    for path in (PAGE, "/metrics"):
        text = operator.get(path).content.decode()
        assert "timeout" in text
        assert "secret-merger" not in text


def test_an_index_that_lost_points_is_seen(
    acme: Organization, globex: Organization, operator: Client, models: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    uploaded = upload(acme)
    upload(globex)
    pipeline.work_until_idle()
    assert index_counts.count_some() == 0
    assert operator.get(PAGE).context["seen"].indexes_differ == 0
    open_index(acme).delete_document(uploaded.id)
    monkeypatch.setattr(sweeper, "_looked_at", None)
    sweeper.sweep()
    seen = operator.get(PAGE).context["seen"]
    assert (seen.indexes, seen.indexes_differ) == (2, 1)
    (row,) = seen.queues
    assert (row.name, row.points) == ("Acme", 0)
    assert row.rows
    assert f'index_points_missing{{organization="{acme.pk}"}} {float(row.rows)}' in (
        operator.get("/metrics").content.decode()
    )


def test_an_index_that_is_being_written_keeps_its_last_count(acme: Organization, models: Any) -> None:
    upload(acme)
    pipeline.work_until_idle()
    index_counts.count_some()
    upload(acme, "b.txt", b"another")
    assert jobs.claim() is not None
    with tenant_scope(acme):
        IndexCount.objects.update(points=7)
    assert index_counts.count_some() == 0
    with tenant_scope(acme):
        assert IndexCount.objects.get().points == 7


def test_organisations_without_passages_hold_up_no_count(
    acme: Organization, globex: Organization, models: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_counts, "AT_ONCE", 1)
    upload(globex)
    pipeline.work_until_idle()
    open_index(globex).drop()
    assert [index_counts.count_some() for _ in range(2)] == [0, 1]  # acme has none, and comes first


def test_points_that_a_row_explains_are_no_difference(acme: Organization) -> None:
    document(acme, "A", ["impeller one"])
    document(acme, "Failed at its end", ["impeller two", "impeller three"], publish=False)
    assert index_counts.count(acme)
    with tenant_scope(acme):
        Chunk.objects.filter(text="impeller two").delete()
    assert not index_counts.count(acme)


def test_one_broken_index_holds_up_no_other_and_no_other_step(
    acme: Organization, globex: Organization, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for organization in (acme, globex):
        document(organization, "A", ["impeller one"])
    close_all()
    (Path(settings.VAR) / "index" / str(acme.pk) / "tessera.json").write_text("")
    monkeypatch.setattr(sweeper, "_looked_at", None)

    def fail() -> None:
        raise OSError("the storage does not answer")

    monkeypatch.setattr(publishing, "remove_left_overs", fail)
    sweeper.sweep()
    with tenant_scope(globex):
        assert IndexCount.objects.get().points == 1
    cleared: list[bool] = []
    monkeypatch.setattr(publishing, "remove_left_overs", lambda: cleared.append(True))
    sweeper.sweep()
    assert cleared == []  # not at each sweep, only because one thing is broken
