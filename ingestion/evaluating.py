"""How the documents of an evaluation come into the product: what :class:`search.evaluation.corpora.Publisher` asks for."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from django.core.files import File

from inference.embedder import Embedder
from ingestion import bulk, pipeline
from ingestion.models import IngestionJob
from ingestion.uploads import UploadRefused, accept_upload
from search.evaluation.suites import CorpusText, SuiteError
from tenants.models import Organization
from tenants.scope import tenant_scope

LOOK_SECONDS = 1.0


class IngestionPublisher:
    """``works_itself``: no worker runs, so that this one does the jobs; all that wait."""

    def __init__(self, *, works_itself: bool) -> None:
        self._works_itself = works_itself

    def texts(
        self,
        organization: Organization,
        texts: Sequence[CorpusText],
        *,
        embedder: Embedder,
        on_batch: Callable[[int], None],
    ) -> int:
        return bulk.publish_texts(organization, texts, embedder=embedder, on_batch=on_batch)

    def files(self, organization: Organization, files: Sequence[Path], *, say: Callable[[str], None]) -> None:
        for file in files:
            with file.open("rb") as stream:
                try:
                    accept_upload(
                        organization=organization, user=None, name=file.name, stream=File(stream, file.name),
                        external_id=file.name, limited=False,
                    )  # fmt: skip
                except UploadRefused as refused:
                    raise SuiteError(f"{file.name}: {refused}") from refused
        told = -1
        while waiting := _count(organization, IngestionJob.Status.QUEUED, IngestionJob.Status.PROCESSING):
            if waiting != told:
                say(f"{len(files) - waiting} of {len(files)} files")
                told = waiting
            if not self._works_itself or not pipeline.work_until_idle():
                time.sleep(LOOK_SECONDS)
        if _count(organization, IngestionJob.Status.FAILED):
            raise SuiteError("A file of the suite could not be read.")

    def made_from(self, embedder: Embedder) -> str:
        return bulk.made_from(embedder)


def _count(organization: Organization, *statuses: str) -> int:
    with tenant_scope(organization):
        return IngestionJob.objects.filter(status__in=statuses).count()
