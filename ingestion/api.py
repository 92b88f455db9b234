"""Documents over the API: upload, list, look at, delete, retry. Shells over the functions of this package."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db.models import OuterRef, Subquery
from django.http import Http404
from django.urls import reverse
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from ingestion import deletion, jobs, progress, uploads
from ingestion.models import IngestionJob
from ingestion.serializers import STATUSES, DocumentSerializer, UploadSerializer
from search.models import Collection, Document
from search.paging import new_paginator, page_of
from tenants.authentication import credential
from tenants.models import Organization
from tenants.scope import tenant_scope

MULTIPART_OVERHEAD = 64 * 1024
LONGEST_IDEMPOTENCY_KEY = 200
_ACCEPTED = OpenApiResponse(DocumentSerializer, description="Accepted; its state is under `Location`.")
_TOO_LARGE = OpenApiResponse(description="The file is larger than is allowed.")
_UNSUPPORTED = OpenApiResponse(description="The file is of no format that is read.")
_REUSED = OpenApiResponse(description="The Idempotency-Key was used for another file.")
_KEY = OpenApiParameter(
    "Idempotency-Key",
    str,
    OpenApiParameter.HEADER,
    description="Up to 200 characters. The same key with the same file answers with the same document.",
)


class Documents(APIView):
    """All documents of the key's organisation."""

    parser_classes = [MultiPartParser]
    required_scopes = {"GET": "read", "POST": "write"}

    @extend_schema(
        operation_id="documents_list",
        summary="List documents, newest first",
        parameters=[
            OpenApiParameter("status", str, enum=STATUSES, description="Only documents in this state."),
            OpenApiParameter("cursor", str, description="From `next` or `previous` of a page."),
            OpenApiParameter("page_size", int, description="Up to 200; 50 by default."),
        ],
        responses={200: page_of(DocumentSerializer)},
    )
    def get(self, request: Request) -> Response:
        paginator = new_paginator()
        with tenant_scope(credential(request).organization):
            found = with_status(Document.objects.all(), request.query_params.get("status"))
            page = paginator.paginate_queryset(progress.with_progress(found), request, view=self)
            rows = [progress.row_of(document) for document in page or []]
        answer: Response = paginator.get_paginated_response([DocumentSerializer(row).data for row in rows])
        return answer

    @extend_schema(
        operation_id="documents_create",
        summary="Upload a file",
        description="Answers at once; ask `Location` until `status` is ready or failed.",
        parameters=[_KEY],
        request={"multipart/form-data": UploadSerializer},
        responses={202: _ACCEPTED, 409: _REUSED, 413: _TOO_LARGE, 415: _UNSUPPORTED},
    )
    def post(self, request: Request) -> Response:
        asker = credential(request)
        uploads.refuse_too_large(announced_size(request))
        sent = UploadSerializer(data=request.data)
        sent.is_valid(raise_exception=True)
        values = sent.validated_data
        document = uploads.accept_upload(
            organization=asker.organization,
            user=asker.user,
            name=values["file"].name,
            stream=values["file"],
            collection=_collection(asker.organization, values.get("collection")),
            external_id=values.get("external_id"),
            title=values.get("title", ""),
            idempotency_key=_idempotency_key(request),
        )
        return _answer(asker.organization, document.id, status=202)


class DocumentDetail(APIView):
    """One document."""

    required_scopes = {"GET": "read", "DELETE": "write"}

    @extend_schema(
        operation_id="documents_retrieve", summary="Look at a document", responses=DocumentSerializer
    )
    def get(self, request: Request, document_id: UUID) -> Response:
        return _answer(credential(request).organization, document_id)

    @extend_schema(
        operation_id="documents_destroy",
        summary="Delete a document",
        description="Its rows, files and vectors are gone when this answers.",
        responses={204: None},
    )
    def delete(self, request: Request, document_id: UUID) -> Response:
        organization = credential(request).organization
        if not deletion.delete_document(organization=organization, document_id=document_id):
            raise Http404
        return Response(status=204)


class DocumentRetry(APIView):
    """A failed document, once more."""

    required_scopes = {"POST": "write"}

    @extend_schema(
        operation_id="documents_retry",
        summary="Try a failed document again",
        description="A document that has not failed is left as it is.",
        request=None,
        responses={202: _ACCEPTED},
    )
    def post(self, request: Request, document_id: UUID) -> Response:
        organization = credential(request).organization
        with tenant_scope(organization):
            document = Document.objects.filter(id=document_id).first()
        if document is None:
            raise Http404
        jobs.retry(organization=organization, document=document)
        return _answer(organization, document_id, status=202)


def announced_size(request: Request) -> int | None:
    """The size of the file as far as the request's headers tell it, before its body is read."""
    length = request.META.get("CONTENT_LENGTH") or ""
    return max(0, int(length) - MULTIPART_OVERHEAD) if length.isdigit() else None


def with_status(documents: Any, status: str | None) -> Any:
    """The documents whose newest job has this state. Raises ``UploadRefused`` for a state that is none."""
    if not status:
        return documents
    if status not in STATUSES:
        raise uploads.UploadRefused(
            "invalid", f"There is no status {status!r}.", f"One of {', '.join(STATUSES)}."
        )
    inner = ["failed", "cancelled"] if status == "failed" else [status]
    newest = IngestionJob.objects.filter(document=OuterRef("pk")).order_by("-created_at").values("status")[:1]
    return documents.annotate(newest_status=Subquery(newest)).filter(newest_status__in=inner)


def _answer(organization: Organization, document_id: UUID, *, status: int = 200) -> Response:
    row = progress.row(organization, document_id)
    if row is None:
        raise Http404
    response = Response(DocumentSerializer(row).data, status=status)
    if status == 202:
        response["Location"] = reverse("api-document", args=[document_id])
    return response


def _collection(organization: Organization, collection_id: UUID | None) -> Collection | None:
    if collection_id is None:
        return None
    with tenant_scope(organization):
        collection = Collection.objects.filter(id=collection_id).first()
    if collection is None:
        raise uploads.UploadRefused(
            "unknown_collection", "There is no such collection.", "List the collections."
        )
    return collection


def _idempotency_key(request: Request) -> str:
    key = str(request.headers.get("Idempotency-Key", ""))
    if len(key) > LONGEST_IDEMPOTENCY_KEY or not key.isprintable():
        raise uploads.UploadRefused(
            "invalid", "The Idempotency-Key is not valid.", "At most 200 visible characters."
        )
    return key
