"""What the tests of the pipeline share: files, a queued document, a clock that is moved by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from django.core.files.uploadedfile import SimpleUploadedFile

from ingestion.models import IngestionJob
from ingestion.uploads import accept_upload
from search.models import Document
from tenants.models import Organization
from tenants.scope import tenant_scope

POLICY = (
    b"# Travel policy\n\nEmployees book trains in second class. Flights need the approval of a manager.\n\n"
    b"## Hotels\n\nA night in a hotel may cost up to 180 euros in the capital and 140 euros elsewhere.\n"
)


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = datetime(2030, 1, 1, 9, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def forward(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


def upload(
    organization: Organization, name: str = "policy.md", content: bytes = POLICY, **more: Any
) -> Document:
    return accept_upload(
        organization=organization,
        user=None,
        name=name,
        stream=SimpleUploadedFile("sent", content),
        **more,
    )


def job_of(organization: Organization, document: Document) -> IngestionJob:
    """The newest job of a document."""
    with tenant_scope(organization):
        return IngestionJob.objects.filter(document=document).order_by("-created_at")[0]


def set_job(organization: Organization, document: Document, **changes: Any) -> None:
    with tenant_scope(organization):
        IngestionJob.objects.filter(document=document).update(**changes)
