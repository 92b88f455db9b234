"""What owners and admins do with documents on the pages: upload, replace, delete, retry, cancel.

Every view is a shell, like those of :mod:`ingestion.views`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec
from uuid import UUID

from django.core.exceptions import PermissionDenied
from django.core.files.base import File
from django.http import Http404, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_POST

from ingestion import bundles, deletion, jobs, passwords, progress, uploads
from ingestion.display_name import display_name
from ingestion.reception import receives_a_file
from ingestion.refusals import UploadRefused
from ingestion.views import MemberRequest, is_fragment, list_context, may_change, row_fragment
from search.models import Document
from tenants.scope import tenant_scope

_Args = ParamSpec("_Args")
MOST_ROWS = 50
"""Of a zip's members as many are shown at once, of those accepted and of those not."""


def _for_admins(
    view: Callable[Concatenate[MemberRequest, _Args], HttpResponse],
) -> Callable[Concatenate[MemberRequest, _Args], HttpResponse]:
    @wraps(view)
    def guarded(request: MemberRequest, /, *args: _Args.args, **kwargs: _Args.kwargs) -> HttpResponse:
        if not may_change(request):
            raise PermissionDenied
        return view(request, *args, **kwargs)

    return guarded


def _refused(request: MemberRequest, refusal: UploadRefused, filename: str, size: int = 0) -> HttpResponse:
    if is_fragment(request):
        error = {"code": refusal.code, "message": refusal.message, "detail": refusal.remedy}
        response: HttpResponse = JsonResponse({"error": error}, status=refusal.status)
    else:
        row = progress.refused(
            filename=display_name(filename) if filename else "The file",
            size=size,
            code=refusal.code,
            message=refusal.message,
            remedy=refusal.remedy,
        )
        context = list_context(request, first=[row])
        response = render(request, "ingestion/upload.html", context, status=refusal.status)
    if refusal.retry_after_s is not None:
        response["Retry-After"] = str(refusal.retry_after_s)
    return response


def _take(request: MemberRequest, replaces: UUID | None) -> HttpResponse:
    file = request.FILES.get("file")
    if file is None:
        return _refused(request, UploadRefused("no_file", "No file was sent.", "Choose a file first."), "", 0)
    try:
        if replaces is None and bundles.is_bundle(file):
            return _take_bundle(request, file)
        document = uploads.accept_upload(
            organization=request.organization,
            user=request.user if request.user.is_authenticated else None,
            name=file.name or "",
            stream=file,
            replaces=replaces,
        )
    except UploadRefused as refusal:
        return _refused(request, refusal, file.name or "", file.size or 0)
    if is_fragment(request):
        return row_fragment(request, document.id)
    return redirect("documents", organization=request.organization.slug)


def _take_bundle(request: MemberRequest, file: File[bytes]) -> HttpResponse:
    """Answers with the rows of a zip's members, those that were not accepted first."""
    bundle = bundles.accept_bundle(
        organization=request.organization,
        user=request.user if request.user.is_authenticated else None,
        name=file.name or "",
        stream=file,
    )
    refused = [
        progress.refused(filename=each.name, size=0, code=each.code, message=each.message, remedy=each.remedy)
        for each in bundle.refused
    ]
    if not is_fragment(request):
        return render(request, "ingestion/upload.html", list_context(request, first=refused))
    ids = {each.document_id for each in bundle.accepted[:MOST_ROWS]}
    context = {
        "rows": [*refused[:MOST_ROWS], *progress.rows_of(request.organization, ids)],
        "more": max(0, len(refused) - MOST_ROWS) + max(0, len(bundle.accepted) - MOST_ROWS),
        "can_upload": True,
    }
    return render(request, "ingestion/_document_rows.html", context)


@require_POST
@_for_admins
@receives_a_file(_refused)
def upload(request: MemberRequest, organization: str) -> HttpResponse:
    """Takes one file, answers with its row."""
    return _take(request, None)


@require_POST
@_for_admins
@receives_a_file(_refused)
def replace(request: MemberRequest, organization: str, document_id: UUID) -> HttpResponse:
    """Takes one file as the new version of a document, answers with its row."""
    return _take(request, document_id)


@require_POST
@_for_admins
def delete(request: MemberRequest, organization: str, document_id: UUID) -> HttpResponse:
    """Deletes a document in all its versions."""
    if not deletion.delete_document(organization=request.organization, document_id=document_id):
        raise Http404("No such document.")
    return HttpResponse() if is_fragment(request) else redirect("documents", organization=organization)


@require_POST
@sensitive_post_parameters("password")
@_for_admins
def retry(request: MemberRequest, organization: str, document_id: UUID) -> HttpResponse:
    """Queues a failed document again, with the password of a protected file."""
    password = request.POST.get("password", "")[: passwords.LONGEST]
    jobs.retry(organization=request.organization, document=_document(request, document_id), password=password)
    return _changed(request, document_id)


@require_POST
@_for_admins
def cancel(request: MemberRequest, organization: str, document_id: UUID) -> HttpResponse:
    """Stops the work on a document."""
    jobs.cancel(organization=request.organization, document=_document(request, document_id))
    return _changed(request, document_id)


def _document(request: MemberRequest, document_id: UUID) -> Document:
    with tenant_scope(request.organization):
        document = Document.objects.filter(id=document_id).first()
    if document is None:
        raise Http404("No such document.")
    return document


def _changed(request: MemberRequest, document_id: UUID) -> HttpResponse:
    if is_fragment(request):
        return row_fragment(request, document_id)
    return redirect("documents", organization=request.organization.slug)
