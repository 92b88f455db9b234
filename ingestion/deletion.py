"""A document leaves: its points, its rows, its files and the pictures of its pages.

What always holds: when :func:`delete_document` returns, nothing of the document can be found; work in hand on
it ends at its next step and takes back what it had indexed meanwhile. A deletion that was cut off, by a kill of
its process or a server that was away, is marked by the code of the document's jobs, and a sweep ends it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from ingestion import jobs, page_images
from search import corpus
from search.index.errors import IndexFailure
from search.models import Document, DocumentVersion
from tenants.models import Organization
from tenants.scope import tenant_scope

logger = logging.getLogger(__name__)


def delete_document(*, organization: Organization, document_id: UUID) -> bool:
    """Deletes a document in all its versions; False when the organisation has no such document."""
    if not begin_deletion(organization=organization, document_id=document_id):
        return False
    _remove(organization, document_id)
    return True


def finish_deletions(*, clock: Callable[[], datetime] = timezone.now) -> int:
    """Ends the deletions that were cut off; returns how many. One whose index fails waits for the next call."""
    ended = 0
    for organization, document_id in jobs.deletions_cut_off(clock=clock):
        try:
            _remove(organization, document_id)
            ended += 1
        except (IndexFailure, OSError):
            logger.exception("document %s is still being deleted; the next sweep tries again", document_id)
    return ended


def begin_deletion(*, organization: Organization, document_id: UUID) -> bool:
    """From here on nobody finds the document, replaces it or uploads to it: its external id is free again.

    A process that does not hold the index calls this alone; a sweep of the product ends the deletion. False when the
    organisation has no such document.
    """
    with tenant_scope(organization), transaction.atomic():
        document = Document.objects.select_for_update().filter(id=document_id).first()
        if document is None:
            return False
        Document.objects.filter(id=document_id).update(published=None, external_id=None)
        jobs.end_for_deletion(organization=organization, document=document)
    return True


def _remove(organization: Organization, document_id: UUID) -> None:
    """May be repeated. Pictures go before the rows that name them, and again after: one may be in the making."""
    with tenant_scope(organization):
        versions = list(DocumentVersion.objects.filter(document_id=document_id).values_list("id", flat=True))
    for version_id in versions:
        page_images.forget(organization, version_id)
    corpus.remove_document(organization, document_id)
    for version_id in versions:
        page_images.forget(organization, version_id)
