"""A document leaves: its points, its rows, its files and the pictures of its pages.

What always holds: when :func:`delete_document` returns, nothing of the document can be found; work in hand on
it ends at its next step and takes back what it had indexed meanwhile.
"""

from __future__ import annotations

from uuid import UUID

from ingestion import jobs, page_images
from search import corpus
from search.models import Document, DocumentVersion
from tenants.models import Organization
from tenants.scope import tenant_scope


def delete_document(*, organization: Organization, document_id: UUID) -> bool:
    """Deletes a document in all its versions; False when the organisation has no such document."""
    with tenant_scope(organization):
        document = Document.objects.filter(id=document_id).first()
        if document is None:
            return False
        versions = list(DocumentVersion.objects.filter(document=document).values_list("id", flat=True))
    jobs.cancel(organization=organization, document=document)
    corpus.remove_document(organization, document_id)
    for version_id in versions:
        page_images.forget(organization, version_id)
    return True
