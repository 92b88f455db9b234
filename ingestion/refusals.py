"""Why an upload is not accepted, and what is refused by its size, its first bytes or the length of the queue alone."""

from __future__ import annotations

import tempfile
from pathlib import Path

from django.conf import settings

from ingestion.guards import IngestionFailure
from ingestion.models import IngestionJob
from ingestion.protected_office import OLE2
from ingestion.sniff import sniff
from tenants.models import Organization
from tenants.scope import tenant_scope

RETRY_AFTER_S = 60
"""How long whoever fills a queue is asked to wait: some files are done by then."""
ZIP = b"PK"
OLE2_HEAD = 1 << 20
"""As much of an OLE2 container is looked at before it is judged here."""


class UploadRefused(Exception):
    """An upload that is not accepted. ``status`` is the HTTP status that says so."""

    status = 400

    def __init__(
        self,
        code: str,
        message: str,
        remedy: str,
        status: int | None = None,
        *,
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(message)
        self.code, self.message, self.remedy = code, message, remedy
        self.status = status or self.status
        self.retry_after_s = retry_after_s


def refuse_too_large(size: int | None) -> None:
    """Refuses by a size, announced or reached. Raises :class:`UploadRefused` (413)."""
    limit = int(settings.ENV.max_upload_mb) * 1_000_000
    if size is not None and size > limit:
        raise UploadRefused(
            "too_large",
            f"The file is larger than {settings.ENV.max_upload_mb} MB.",
            "Split it, or ask the operator to raise the limit.",
            413,
        )


def refuse_full_queue(organization: Organization) -> None:
    """Refuses while as many files of the organisation wait as may. Raises :class:`UploadRefused` (429)."""
    most = int(settings.ENV.max_queued_files)
    with tenant_scope(organization):
        waiting = IngestionJob.objects.filter(status=IngestionJob.Status.QUEUED).order_by()
        full = waiting[most - 1 : most].exists()
    if full:
        raise UploadRefused(
            "queue_full",
            f"{most} files of this organisation are waiting already.",
            "Send more when some of them are ready.",
            429,
            retry_after_s=RETRY_AFTER_S,
        )


def refuse_unknown_format(head: bytes, filename: str) -> None:
    """Refuses what is plainly of no format that is read. Raises :class:`UploadRefused` (415).

    ``head`` is the beginning of the file: an archive's directory, and whatever needs more, is judged in the parsing
    child under its limits.
    """
    if head.startswith(ZIP) or (head.startswith(OLE2) and len(head) >= OLE2_HEAD):
        return  # where a container says that it is protected may lie anywhere in it
    with tempfile.NamedTemporaryFile(prefix="tessera-") as beginning:
        beginning.write(head)
        beginning.flush()
        try:
            sniff(Path(beginning.name), filename)
        except IngestionFailure as failure:
            if failure.code == "unsupported":
                raise UploadRefused(failure.code, str(failure), failure.remedy, 415) from failure
