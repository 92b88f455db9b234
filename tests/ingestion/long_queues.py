"""Queues of any length, written past the uploads: rows alone, without files."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta

from django.utils import timezone

from ingestion.models import IngestionJob, Priority
from search.models import Collection, Document, DocumentVersion
from tenants.models import Organization
from tenants.scope import tenant_scope


def queue_files(
    organization: Organization,
    count: int,
    *,
    priority: Priority = Priority.SINGLE,
    since: datetime | None = None,
) -> list[uuid.UUID]:
    """Queues ``count`` jobs as if at ``since`` (default: an hour ago); returns their ids."""
    begun = timezone.now()
    with tenant_scope(organization):
        collection, _ = Collection.objects.get_or_create(name="Queued", organization=organization)
        documents = [
            Document(organization=organization, collection=collection, title=f"{n}.txt", filename=f"{n}.txt")
            for n in range(count)
        ]
        Document.objects.bulk_create(documents, batch_size=2000)
        versions = [
            DocumentVersion(organization=organization, document=document, file="", sha256=f"{n:064}", size=1)
            for n, document in enumerate(documents)
        ]
        DocumentVersion.objects.bulk_create(versions, batch_size=2000)
        jobs = [
            IngestionJob(
                organization=organization, document=version.document, version=version, priority=priority
            )
            for version in versions
        ]
        IngestionJob.objects.bulk_create(jobs, batch_size=2000)
        created = since or timezone.now() - timedelta(hours=1)  # the field sets its own time
        IngestionJob.objects.filter(document__collection=collection, created_at__gte=begun).update(
            created_at=created
        )
    return [job.id for job in jobs]
