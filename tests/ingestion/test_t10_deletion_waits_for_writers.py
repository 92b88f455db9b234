"""T10: rows that another transaction is writing while their document is deleted go with it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.db import connections, transaction

from ingestion import deletion, pipeline
from search.models import Document, DocumentVersion, Page
from tenants.models import Organization
from tenants.scope import tenant_scope
from tests.ingestion.corpus_of_acme import upload
from tests.ingestion.ready_for_work import models, storage
from tests.search.residue import residue

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.postgres]
__all__ = ["models", "storage"]


def while_uncommitted(organization: Organization, write: Callable[[], None], act: Callable[[], Any]) -> Any:
    """``act`` begins, in a thread, when ``write`` has written but not committed; returns what it returned."""
    got: list[Any] = []

    def acting() -> None:
        try:
            got.append(act())
        finally:
            connections.close_all()

    thread = threading.Thread(target=acting)
    with tenant_scope(organization), transaction.atomic():
        write()
        thread.start()
        thread.join(1)
    thread.join(30)
    assert got, "it failed, or still waits"
    return got[0]


def test_pages_of_a_worker(acme: Organization, models: Any) -> None:
    document = upload(acme)
    with tenant_scope(acme):
        version = DocumentVersion.objects.get()

    def write() -> None:
        DocumentVersion.objects.filter(id=version.id).update(page_count=1)
        Page.objects.create(organization=acme, version=version, number=1, text="words")

    def delete() -> bool:
        return deletion.delete_document(organization=acme, document_id=document.id)

    assert while_uncommitted(acme, write, delete)
    assert not any(residue(acme, document.id).values())


def test_pages_of_a_worker_on_a_version_that_is_replaced(acme: Organization, models: Any) -> None:
    document = upload(acme, content=b"The limit is one hundred euros.")
    pipeline.work_until_idle()
    with tenant_scope(acme):
        old = DocumentVersion.objects.get()

    def write() -> None:
        DocumentVersion.objects.filter(id=old.id).update(page_count=2)
        Page.objects.create(organization=acme, version=old, number=2, text="words")

    upload(acme, content=b"The limit is two hundred euros.", replaces=document.id)
    while_uncommitted(acme, write, pipeline.work_until_idle)
    with tenant_scope(acme):
        assert DocumentVersion.objects.get() != old


def test_a_version_that_is_uploaded(acme: Organization, models: Any, storage: Path) -> None:
    document = upload(acme, content=b"The limit is one hundred euros.")

    def replace() -> None:
        upload(acme, content=b"The limit is two hundred euros.", replaces=document.id)

    def delete() -> bool:
        return deletion.delete_document(organization=acme, document_id=document.id)

    assert while_uncommitted(acme, replace, delete)
    with tenant_scope(acme):
        assert not Document.objects.exists()
    assert not [path for path in (storage / "files").rglob("*") if path.is_file()]
