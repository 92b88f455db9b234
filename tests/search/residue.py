"""What is left of a document, wherever it is looked for."""

from __future__ import annotations

from uuid import UUID

from django.db.models import Q

from search import corpus
from search.evaluation.forgetting import count_places
from search.index import open_index
from search.models import Chunk, Document, DocumentVersion, Page
from tenants.models import Organization
from tenants.scope import tenant_scope


def residue(organization: Organization, document_id: UUID) -> dict[str, int]:
    """What is left of a document, by kind; all zero after :func:`search.corpus.remove_document`.

    ``points`` and ``files`` count what the organisation has without any row that explains it, since nothing
    tells any more which document a nameless one came from; an upload that is being stored counts there too.
    """
    points = open_index(organization).ids()
    with tenant_scope(organization):
        of_version = Q(version__document_id=document_id)
        rows = {
            "documents": Document.objects.filter(id=document_id).count(),
            "versions": DocumentVersion.objects.filter(document_id=document_id).count(),
            "pages": Page.objects.filter(of_version).count(),
            "chunks": Chunk.objects.filter(of_version).count(),
            "citations": corpus._citing_turns(document_id).count() + count_places(str(document_id)),
        }
        points -= set(Chunk.objects.exclude(of_version).values_list("id", flat=True).iterator())
        files = set(DocumentVersion.objects.exclude(document_id=document_id).values_list("file", flat=True))
    return {**rows, "points": len(points), "files": len(corpus.stored_files(organization) - files)}
