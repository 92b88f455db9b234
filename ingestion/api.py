"""Documents over the API: upload, list, look at, delete, retry, cancel. Shells over the functions of this package."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.http import Http404
from django.urls import reverse
from django.utils.decorators import method_decorator
from django.views.decorators.debug import sensitive_post_parameters
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from ingestion import bundles, deletion, jobs, pace, progress, uploads
from ingestion.reception import ReceivesAFile, refuse_early
from ingestion.serializers import (
    STATUSES,
    ArchiveSerializer,
    BundleSerializer,
    DocumentSerializer,
    QueueSerializer,
    RetrySerializer,
    UploadSerializer,
)
from search.models import Collection, Document
from search.paging import PAGE_PARAMETERS, page_of, page_response
from tenants.authentication import credential
from tenants.models import Organization
from tenants.scope import tenant_scope

LONGEST_IDEMPOTENCY_KEY = 200
_HIDES_PASSWORD = sensitive_post_parameters("password")
_ACCEPTED = OpenApiResponse(DocumentSerializer, description="Accepted; its state is under `Location`.")
_TOO_LARGE = OpenApiResponse(description="The file is larger than is allowed.")
_FULL = OpenApiResponse(description="Too many files wait; send again after `Retry-After` seconds.")
_UNSUPPORTED = OpenApiResponse(description="The file is of no format that is read.")
_REUSED = OpenApiResponse(description="The Idempotency-Key was used for another file.")
_KEY = OpenApiParameter(
    "Idempotency-Key",
    str,
    OpenApiParameter.HEADER,
    description="Up to 200 characters. The same key with the same file answers with the same document.",
)


@method_decorator(_HIDES_PASSWORD, name="dispatch")
class Documents(ReceivesAFile):
    """All documents of the key's organisation."""

    required_scopes = {"GET": "read", "POST": "write"}

    @extend_schema(
        operation_id="documents_list",
        summary="List documents, newest first",
        parameters=[
            OpenApiParameter("status", str, enum=STATUSES, description="Only documents in this state."),
            OpenApiParameter("q", str, description="Only documents whose title or file name contains this."),
            OpenApiParameter("external_id", str, description="Only the document that you gave this id."),
            *PAGE_PARAMETERS,
        ],
        responses={200: page_of(DocumentSerializer)},
    )
    def get(self, request: Request) -> Response:
        with tenant_scope(credential(request).organization):
            found = progress.narrowed(
                Document.objects.all(),
                status=_status(request),
                words=request.query_params.get("q", "")[:200],
                external_id=request.query_params.get("external_id", ""),
            )
            return page_response(
                self,
                request,
                progress.with_progress(found),
                lambda page: [DocumentSerializer(row).data for row in progress.rows_of_documents(page)],
            )

    @extend_schema(
        operation_id="documents_create",
        summary="Upload a file",
        description="Answers at once; ask `Location` until `status` is ready or failed.",
        parameters=[_KEY],
        request={"multipart/form-data": UploadSerializer},
        responses={202: _ACCEPTED, 409: _REUSED, 413: _TOO_LARGE, 415: _UNSUPPORTED, 429: _FULL},
    )
    def post(self, request: Request) -> Response:
        asker = credential(request)
        values = _received(request, UploadSerializer)
        document = uploads.accept_upload(
            organization=asker.organization,
            user=asker.user,
            name=values["file"].name,
            stream=values["file"],
            collection=_collection(asker.organization, values.get("collection")),
            external_id=values.get("external_id"),
            title=values.get("title", ""),
            idempotency_key=_idempotency_key(request),
            password=values.get("password", ""),
        )
        return _answer(asker.organization, document.id, status=202)


class Archives(ReceivesAFile):
    """Zips of documents."""

    @extend_schema(
        operation_id="documents_create_from_archive",
        summary="Upload a zip of documents",
        description="Each member becomes a document, as a bulk import: single uploads go before them. The answer lists "
        "which were accepted, and which were not and why. The zip itself is not kept.",
        request={"multipart/form-data": ArchiveSerializer},
        responses={202: BundleSerializer, 413: _TOO_LARGE, 415: _UNSUPPORTED, 429: _FULL},
    )
    def post(self, request: Request) -> Response:
        asker = credential(request)
        values = _received(request, ArchiveSerializer)
        bundle = bundles.accept_bundle(
            organization=asker.organization,
            user=asker.user,
            name=values["file"].name,
            stream=values["file"],
            collection=_collection(asker.organization, values.get("collection")),
            external_id=values.get("external_id", ""),
        )
        return Response(BundleSerializer(bundle).data, status=202)


class DocumentQueue(APIView):
    """What the organisation waits for."""

    required_scopes = {"GET": "read"}

    @extend_schema(
        operation_id="documents_queue",
        summary="Look at the queue",
        description="How many files wait, how fast they are read, and when all will be ready; null while it is unknown.",
        responses=QueueSerializer,
    )
    def get(self, request: Request) -> Response:
        return Response(QueueSerializer(pace.queue_of(credential(request).organization)).data)


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


@method_decorator(_HIDES_PASSWORD, name="dispatch")
class DocumentRetry(APIView):
    """A failed document, once more."""

    required_scopes = {"POST": "write"}

    @extend_schema(
        operation_id="documents_retry",
        summary="Try a failed document again",
        description="A document that has not failed is left as it is. A protected file needs its `password`.",
        request=RetrySerializer,
        responses={202: _ACCEPTED},
    )
    def post(self, request: Request, document_id: UUID) -> Response:
        organization = credential(request).organization
        sent = RetrySerializer(data=request.data)
        document = _document(organization, document_id)
        sent.is_valid(raise_exception=True)
        jobs.retry(
            organization=organization, document=document, password=sent.validated_data.get("password", "")
        )
        return _answer(organization, document_id, status=202)


class DocumentCancel(APIView):
    """Work on a document, stopped."""

    required_scopes = {"POST": "write"}

    @extend_schema(
        operation_id="documents_cancel",
        summary="Stop the work on a document",
        description="One that waits or is being read fails with the code `cancelled`; a version that was ready before stays. "
        "Any other document is left as it is.",
        request=None,
        responses=DocumentSerializer,
    )
    def post(self, request: Request, document_id: UUID) -> Response:
        organization = credential(request).organization
        jobs.cancel(organization=organization, document=_document(organization, document_id))
        return _answer(organization, document_id)


def _received(request: Request, fields: type[serializers.Serializer[Any]]) -> dict[str, Any]:
    """What an upload says, its file included. Raises as :func:`refuse_early`, before anything is read, and
    ``ValidationError``."""
    refuse_early(request, credential(request).organization)
    sent = fields(data=request.data)
    sent.is_valid(raise_exception=True)
    values: dict[str, Any] = sent.validated_data
    return values


def _document(organization: Organization, document_id: UUID) -> Document:
    with tenant_scope(organization):
        document = Document.objects.filter(id=document_id).first()
    if document is None:
        raise Http404
    return document


def _status(request: Request) -> str:
    status: str = request.query_params.get("status", "")
    if status and status not in STATUSES:
        raise uploads.UploadRefused(
            "invalid", f"There is no status {status!r}.", f"One of {', '.join(STATUSES)}."
        )
    return status


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
