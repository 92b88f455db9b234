"""The web pages of documents: the list with the upload, one row of it, a document's page and its file.

Every view is a shell: it reads the request, makes one call into the package and renders. The middleware has
put the organisation and the membership of the person on the request, or answered before.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.views.decorators.http import require_safe

from ingestion import downloads, pace, page_images, progress, reading
from ingestion.guards import IngestionFailure
from ingestion.serializers import STATUSES
from tenants.models import Membership, Organization, Role

ROW = "ingestion/_document_row.html"
_MAY_CHANGE = (Role.OWNER, Role.ADMIN)


class MemberRequest(HttpRequest):
    """What :mod:`tenants.middleware` makes of a request under ``/o/<slug>/``."""

    organization: Organization
    membership: Membership


def may_change(request: MemberRequest) -> bool:
    """Whether the person may upload and delete here."""
    return request.membership.role in _MAY_CHANGE


@require_safe
def documents(request: MemberRequest, organization: str) -> HttpResponse:
    """The list of documents; owners and admins can upload in it."""
    return render(request, "ingestion/upload.html", list_context(request))


def list_context(request: MemberRequest, *, first: Sequence[progress.DocumentRow] = ()) -> dict[str, Any]:
    """What the list of documents shows: a page of it, narrowed by ``status`` and ``q`` (words of the title); ``first``
    are rows of files that were not accepted."""
    status = request.GET.get("status", "")
    status = status if status in STATUSES else ""
    words = request.GET.get("q", "").strip()[:200]
    rows, shown = progress.page(
        request.organization, number=_number(request, "page", 1), status=status, words=words
    )
    rows = [*first, *rows]
    return {
        "documents": rows,
        "rows": rows,
        "shown": shown,
        "status": status,
        "words": words,
        "statuses": STATUSES,
        "narrowed": bool(status or words),
        "narrowing": urlencode({key: value for key, value in (("q", words), ("status", status)) if value}),
        "queue": pace.queue_of(request.organization),
        "can_upload": may_change(request),
        "max_upload_mb": settings.ENV.max_upload_mb,
    }


@require_safe
def queue(request: MemberRequest, organization: str) -> HttpResponse:
    """The queue in a line; it asks for itself again while something waits."""
    return render(request, "ingestion/_queue.html", {"queue": pace.queue_of(request.organization)})


@require_safe
def document_row(request: MemberRequest, organization: str, document_id: UUID) -> HttpResponse:
    """One row of the list; it asks for itself again until nothing will change any more. That of a document which was
    deleted elsewhere is swapped for nothing, so that it asks no more."""
    try:
        return row_fragment(request, document_id)
    except Http404:
        if not is_fragment(request):
            raise
        return HttpResponse()


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
            "place": found.place,
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


def row_fragment(request: MemberRequest, document_id: UUID) -> HttpResponse:
    """A document's row."""
    row = progress.row(request.organization, document_id)
    if row is None:
        raise Http404("No such document.")
    return render(request, ROW, {"row": row, "can_upload": may_change(request)})


def is_fragment(request: HttpRequest) -> bool:
    """Whether the page's own script asks, for a part."""
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
