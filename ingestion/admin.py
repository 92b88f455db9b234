"""The operator's view of documents and jobs, with an upload for any organisation.

Looking happens in one system scope a page, rendered inside it; changing happens through the same functions as
everywhere else. Nothing is edited row by row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render

from ingestion import deletion, jobs, uploads
from ingestion.models import IngestionJob
from search.models import Document
from tenants.models import Organization
from tenants.scope import system_scope

REASON = "the operator looks at documents and jobs in the admin"


class UploadForm(forms.Form):
    """A file for an organisation."""

    organization = forms.ModelChoiceField(
        queryset=Organization.objects.filter(is_internal=False).order_by("name")
    )
    file = forms.FileField()


if TYPE_CHECKING:
    _Admin = admin.ModelAdmin[Any]
else:
    _Admin = admin.ModelAdmin


class ReadOnlyAdmin(_Admin):
    """Shows rows of all organisations and edits none."""

    actions_on_top = True

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> Any:
        if request.method == "POST":
            return self._act(request)
        return self._in_scope(lambda: super(ReadOnlyAdmin, self).changelist_view(request, extra_context))

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> Any:
        return self._in_scope(
            lambda: super(ReadOnlyAdmin, self).change_view(request, object_id, form_url, extra_context)
        )

    def chosen(self, request: HttpRequest) -> list[Any]:
        """The rows that were ticked, with their organisations."""
        ids = request.POST.getlist("_selected_action")[:100]
        with system_scope(REASON):
            return list(self.model._default_manager.filter(pk__in=ids).select_related("organization"))

    def act(self, request: HttpRequest, action: str) -> None:
        """What an action of the list does; overridden where there is one."""
        raise PermissionDenied

    def _act(self, request: HttpRequest) -> HttpResponse:
        if not self.has_view_permission(request) or not request.user.is_superuser:
            raise PermissionDenied
        self.act(request, request.POST.get("action", ""))
        return redirect(request.get_full_path())

    def _in_scope(self, view: Any) -> Any:
        with system_scope(REASON):
            response: HttpResponseBase = view()
            if hasattr(response, "render"):
                response.render()
            return response


@admin.action(description="Delete the chosen documents")
def delete_documents(model_admin: Any, request: HttpRequest, chosen: QuerySet[Any]) -> None:
    """Named in the list; runs in :meth:`DocumentAdmin.act`, outside the scope in which the list is drawn."""


@admin.action(description="Try the chosen jobs again")
def retry_jobs(model_admin: Any, request: HttpRequest, chosen: QuerySet[Any]) -> None:
    """Named in the list; runs in :meth:`IngestionJobAdmin.act`."""


@admin.register(Document)
class DocumentAdmin(ReadOnlyAdmin):
    """All documents; adding one is an upload."""

    list_display = ["title", "organization", "collection", "created_at"]
    list_select_related = ["organization", "collection"]
    list_filter = ["organization"]
    search_fields = ["title", "filename"]
    actions = [delete_documents]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.is_superuser)

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> Any:
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = UploadForm(request.POST or None, request.FILES or None)
        if request.method == "POST" and form.is_valid():
            file = form.cleaned_data["file"]
            try:
                document = uploads.accept_upload(
                    organization=form.cleaned_data["organization"],
                    user=request.user,  # type: ignore[arg-type]
                    name=file.name,
                    stream=file,
                )
            except uploads.UploadRefused as refusal:
                form.add_error("file", f"{refusal.message} {refusal.remedy}")
            else:
                messages.success(request, f"“{document.title}” is queued.")
                return redirect("admin:search_document_changelist")
        context = {**self.admin_site.each_context(request), "form": form, "title": "Upload a document"}
        return render(request, "admin/upload_document.html", context, status=400 if form.errors else 200)

    def act(self, request: HttpRequest, action: str) -> None:
        if action != "delete_documents":
            raise PermissionDenied
        rows = self.chosen(request)
        for document in rows:
            deletion.delete_document(organization=document.organization, document_id=document.id)
        messages.success(request, f"{len(rows)} deleted.")


@admin.register(IngestionJob)
class IngestionJobAdmin(ReadOnlyAdmin):
    """All jobs, newest first."""

    list_display = [
        "document",
        "organization",
        "status",
        "stage",
        "done",
        "total",
        "attempts",
        "interruptions",
        "error_code",
    ]
    list_select_related = ["organization", "document"]
    list_filter = ["status", "organization"]
    ordering = ["-created_at"]
    exclude = ["sealed_password", "lease_token"]
    actions = [retry_jobs]

    def act(self, request: HttpRequest, action: str) -> None:
        if action != "retry_jobs":
            raise PermissionDenied
        done = 0
        with system_scope(REASON):
            pairs = [(job.organization, job.document) for job in self._jobs(request)]
        for organization, document in pairs:
            done += jobs.retry(organization=organization, document=document)
        messages.success(request, f"{done} queued again.")

    def _jobs(self, request: HttpRequest) -> QuerySet[IngestionJob]:
        ids = request.POST.getlist("_selected_action")[:100]
        return IngestionJob.objects.filter(pk__in=ids).select_related("organization", "document")
