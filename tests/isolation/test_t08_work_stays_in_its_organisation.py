"""T08: messages carry nothing, and a job that names another organisation's rows does nothing to them."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any

import pytest
from celery import current_app

from ingestion import jobs, pipeline
from ingestion import tasks as ingestion_tasks
from ingestion.models import IngestionJob
from search.models import Chunk, Document
from tenants.scope import ScopeError, system_scope, tenant_scope
from tests.isolation.world import World

pytestmark = pytest.mark.django_db


def test_no_task_takes_an_argument() -> None:
    own = {name: task for name, task in current_app.tasks.items() if not name.startswith("celery.")}
    assert {ingestion_tasks.wake_up.name, ingestion_tasks.sweep.name} <= set(own)
    for name, task in own.items():
        assert list(inspect.signature(task.run).parameters) == [], name


def test_a_job_of_globex_that_names_rows_of_acme_leaves_them_alone(
    acme_world: World, globex_world: World, installed_embedder: Any
) -> None:
    with tenant_scope(globex_world.organization):
        IngestionJob.objects.filter(version=globex_world.version).update(
            status=IngestionJob.Status.QUEUED, attempts=0
        )
    lease = jobs.claim()
    assert lease is not None
    assert lease.organization == globex_world.organization
    forged = dataclasses.replace(lease, version_id=acme_world.version.pk)
    pipeline.work(forged)
    with tenant_scope(acme_world.organization):
        assert Document.objects.get().published_id == acme_world.version.pk
        assert list(Chunk.objects.values_list("id", flat=True)) == [acme_world.chunk.pk]
        assert IngestionJob.objects.get().error_message == acme_world.canary
    with system_scope("a test looks at both organisations"):
        assert Chunk.objects.count() == 2


def test_a_job_cannot_be_made_for_a_document_of_others(acme_world: World, globex_world: World) -> None:
    with tenant_scope(globex_world.organization), pytest.raises(ScopeError):
        IngestionJob.objects.create(document=acme_world.document, version=acme_world.version)
    with tenant_scope(globex_world.organization), pytest.raises(ScopeError):
        jobs.enqueue(acme_world.version)


def test_retrying_and_cancelling_reach_only_the_own_jobs(acme_world: World, globex_world: World) -> None:
    assert not jobs.retry(organization=globex_world.organization, document=acme_world.document)
    assert jobs.cancel(organization=globex_world.organization, document=acme_world.document) == 0
    with tenant_scope(acme_world.organization):
        assert IngestionJob.objects.get().status == "failed"
