"""A process that dies between storing a file and writing its rows leaves a file that is not kept for good."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from ingestion import files, sweeper, uploads
from search.models import DocumentVersion
from tenants.models import Organization
from tenants.scope import tenant_scope
from tests.ingestion.corpus_of_acme import upload
from tests.ingestion.ready_for_work import storage

pytestmark = pytest.mark.django_db
__all__ = ["storage"]


class Killed(BaseException):
    """Ends the work as a kill does."""


def test_it_goes_once_no_upload_can_still_be_under_way(
    acme: Organization, globex: Organization, storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kill(*_: Any) -> None:
        raise Killed

    upload(acme, content=b"This one has its rows.")
    upload(globex, content=b"This one too.")
    with monkeypatch.context() as deadly:
        deadly.setattr(uploads, "_record", kill)
        deadly.setattr(files, "discard", lambda _: None)
        with pytest.raises(Killed):
            upload(acme, content=b"This one was cut off.")
    assert len(list((storage / "files").rglob("*/*"))) == 3
    monkeypatch.setattr(sweeper, "_looked_at", None)
    sweeper.sweep()
    assert len(list((storage / "files").rglob("*/*"))) == 3
    sweeper.sweep(clock=lambda: timezone.now() + timedelta(hours=2))
    kept = {str(path.relative_to(storage / "files")) for path in (storage / "files").rglob("*/*")}
    named: set[str] = set()
    for organization in (acme, globex):
        with tenant_scope(organization):
            named |= set(DocumentVersion.objects.values_list("file", flat=True))
    assert kept == named
    assert len(kept) == 2
