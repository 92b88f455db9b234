"""The web pages of documents: the list with the upload, one row of it, a document's page and its file.

Every view is a shell: it reads the request, makes one call into the package and renders. The middleware has
put the organisation and the membership of the person on the request, or answered before.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec
from uuid import UUID

from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe

from ingestion import deletion, downloads, jobs, page_images, progress, reading, uploads
from ingestion.display_name import display_name
from ingestion.guards import IngestionFailure
from search.models import Document
from tenants.models import Membership, Organization, Role
from tenants.scope import tenant_scope

ROW = "ingestion/_document_row.html"
_MAY_CHANGE = (Role.OWNER, Role.ADMIN)


class MemberRequest(HttpRequest):
    """What :mod:`tenants.middleware` makes of a request under ``/o/<slug>/``."""

    organization: Organization
    membership: Membership


_Args = ParamSpec("_Args")


def may_change(request: MemberRequest) -> bool:
    """Whether the person may upload and delete here."""
    return request.membership.role in _MAY_CHANGE


def _for_admins(
    view: Callable[Concatenate[MemberRequest, _Args], HttpResponse],
) -> Callable[Concatenate[MemberRequest, _Args], HttpResponse]:
    @wraps(view)
    def guarded(request: MemberRequest, /, *args: _Args.args, **kwargs: _Args.kwargs) -> HttpResponse:
        if not may_change(request):
            raise PermissionDenied
        return view(request, *args, **kwargs)

    return guarded


@require_safe
def documents(request: MemberRequest, organization: str) -> HttpResponse:
    """The list of documents; owners and admins can upload in it."""
    rows = progress.rows(request.organization)
    return render(
        request,
        "ingestion/upload.html",
        {
            "documents": rows,
            "rows": rows,
            "can_upload": may_change(request),
            "max_upload_mb": settings.ENV.max_upload_mb,
        },
    )


@require_safe
def document_row(request: MemberRequest, organization: str, document_id: UUID) -> HttpResponse:
    """One row of the list; it asks for itself again until nothing will change any more."""
    return _row(request, document_id)


@require_POST
@_for_admins
def upload(request: MemberRequest, organization: str) -> HttpResponse:
    """Takes one file, answers with its row."""
    return _take(request, None)


@require_POST
@_for_admins
def replace(request: MemberRequest, organization: str, document_id: UUID) -> HttpResponse:
    """Takes one file as the new version of a document, answers with its row."""
    return _take(request, document_id)


@require_POST
@_for_admins
def delete(request: MemberRequest, organization: str, document_id: UUID) -> HttpResponse:
    """Deletes a document in all its versions."""
    if not deletion.delete_document(organization=request.organization, document_id=document_id):
        raise Http404("No such document.")
    return HttpResponse() if _is_fragment(request) else redirect("documents", organization=organization)


@require_POST
@_for_admins
def retry(request: MemberRequest, organization: str, document_id: UUID) -> HttpResponse:
    """Queues a failed document again."""
    with tenant_scope(request.organization):
        document = Document.objects.filter(id=document_id).first()
    if document is None:
        raise Http404("No such document.")
    jobs.retry(organization=request.organization, document=document)
    return (
        _row(request, document_id)
        if _is_fragment(request)
        else redirect("documents", organization=organization)
    )


@require_safe
def document_page(request: MemberRequest, organization: str, document_id: UUID) -> HttpResponse:
    """A page of a document, with the passage ``start`` to ``end`` marked (``?page=&start=&end=``)."""
    found = reading.read_page(
        request.organization,
        document_id,
        number=_number(request, "page", 1),
        start=_number(request, "start", 0),
        end=_number(request, "end", 0),
        version_id=_uuid(request, "version"),
    )
    if found is None:
        raise Http404("No such page.")
    boxes = found.rectangles
    return render(
        request,
        "ingestion/document.html",
        {
            "document": found.document,
            "version": found.version,
            "reading": found,
            "page": found.number,
            "page_count": found.page_count,
            "previous": found.previous,
            "next": found.next,
            "label": found.label,
            "pieces": found.pieces,
            "quote": found.quote,
            "has_image": found.has_image,
            "rectangles": reading.as_rects(boxes),
            "page_width": boxes.page_width if boxes else 0,
            "page_height": boxes.page_height if boxes else 0,
            "aligned": bool(boxes and boxes.boxes),
            "can_upload": may_change(request),
        },
    )


@require_safe
def page_image(request: MemberRequest, organization: str, document_id: UUID, page: int) -> HttpResponse:
    """The picture of a page of a PDF."""
    document = reading.published(request.organization, document_id)
    version = document.published if document else None
    if version is None or not reading.has_pictures(version) or not 1 <= page <= version.page_count:
        raise Http404("No such page.")
    try:
        png = page_images.page_png(request.organization, version, page)
    except (IngestionFailure, FileNotFoundError) as failure:
        raise Http404("This page cannot be drawn.") from failure
    response = HttpResponse(png, content_type="image/png")
    response["Cache-Control"] = "private, max-age=300"
    response["Content-Security-Policy"] = "default-src 'none'; sandbox"
    return response


@require_safe
def document_file(request: MemberRequest, organization: str, document_id: UUID) -> HttpResponseBase:
    """The uploaded file, to be saved and never shown by the browser."""
    document = reading.published(request.organization, document_id)
    if document is None or document.published is None:
        raise Http404("No such document.")
    try:
        return downloads.attachment(document.published.file, document.filename)
    except FileNotFoundError as missing:
        raise Http404("The file is gone.") from missing


def _take(request: MemberRequest, replaces: UUID | None) -> HttpResponse:
    file = request.FILES.get("file")
    try:
        if file is None:
            raise uploads.UploadRefused("no_file", "No file was sent.", "Choose a file first.")
        document = uploads.accept_upload(
            organization=request.organization,
            user=request.user if request.user.is_authenticated else None,
            name=file.name or "",
            stream=file,
            replaces=replaces,
        )
    except uploads.UploadRefused as refusal:
        return _refused(
            request, refusal, display_name(file.name or "") if file else "", file.size or 0 if file else 0
        )
    if _is_fragment(request):
        return _row(request, document.id)
    return redirect("documents", organization=request.organization.slug)


def _refused(
    request: MemberRequest, refusal: uploads.UploadRefused, filename: str, size: int
) -> HttpResponse:
    if _is_fragment(request):
        error = {"code": refusal.code, "message": refusal.message, "detail": refusal.remedy}
        return JsonResponse({"error": error}, status=refusal.status)
    row = progress.refused(
        filename=filename, size=size, code=refusal.code, message=refusal.message, remedy=refusal.remedy
    )
    rows = [row, *progress.rows(request.organization)]
    context = {
        "documents": rows,
        "rows": rows,
        "can_upload": True,
        "max_upload_mb": settings.ENV.max_upload_mb,
    }
    return render(request, "ingestion/upload.html", context, status=refusal.status)


def _row(request: MemberRequest, document_id: UUID) -> HttpResponse:
    row = progress.row(request.organization, document_id)
    if row is None:
        raise Http404("No such document.")
    return render(request, ROW, {"row": row, "can_upload": may_change(request)})


def _is_fragment(request: HttpRequest) -> bool:
    return request.headers.get("HX-Request") == "true"


def _number(request: HttpRequest, name: str, default: int) -> int:
    text = request.GET.get(name, "")
    if not text:
        return default
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise Http404("No such page.")
    return int(text)


def _uuid(request: HttpRequest, name: str) -> UUID | None:
    try:
        return UUID(request.GET[name]) if name in request.GET else None
    except ValueError:
        raise Http404("No such page.") from None
