"""The operator's pages. They show every organisation, so each of them runs in the system scope, to its
last byte. Their sign-in is everybody's, which counts attempts; Django's own does not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from allauth.account.decorators import secure_admin_login
from django.contrib import admin
from django.contrib.auth.admin import UserAdmin
from django.contrib.auth.models import User
from django.db.models import QuerySet
from django.http import HttpRequest

from tenants.keys import revoke_key
from tenants.models import ApiKey, Membership, Organization
from tenants.scope import system_scope

if TYPE_CHECKING:
    _Admin = admin.ModelAdmin[Any]
    _UserAdmin = UserAdmin[User]
else:
    _Admin, _UserAdmin = admin.ModelAdmin, UserAdmin


admin.site.login = secure_admin_login(admin.site.login)  # type: ignore[method-assign]


class SystemScopeAdmin(_Admin):
    """Put before ``ModelAdmin``: its pages read the rows of every organisation, and are rendered before
    the scope ends.
    """

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> Any:
        return self._in_scope("changelist_view", request, extra_context)

    def changeform_view(
        self, request: HttpRequest, object_id: Any = None, form_url: str = "", extra_context: Any = None
    ) -> Any:
        return self._in_scope("changeform_view", request, object_id, form_url, extra_context)

    def delete_view(self, request: HttpRequest, object_id: Any, extra_context: Any = None) -> Any:
        return self._in_scope("delete_view", request, object_id, extra_context)

    def history_view(self, request: HttpRequest, object_id: Any, extra_context: Any = None) -> Any:
        return self._in_scope("history_view", request, object_id, extra_context)

    def _in_scope(self, view: str, *args: Any) -> Any:
        with system_scope("the operator's admin shows every organisation"):
            response: Any = getattr(super(), view)(*args)
            if hasattr(response, "render") and not response.is_rendered:
                response.render()
        return response


@admin.register(Organization)
class OrganizationAdmin(SystemScopeAdmin):
    list_display = ("name", "slug", "is_active", "created_at")
    search_fields = ("name", "slug")
    actions = None

    def get_queryset(self, request: HttpRequest) -> QuerySet[Organization]:
        """Those of people; the product's own hold the documents of evaluations."""
        rows: QuerySet[Organization] = super().get_queryset(request)
        return rows.filter(is_internal=False)

    def has_delete_permission(self, request: HttpRequest, obj: Organization | None = None) -> bool:
        """Deleted by ``manage.py organization delete`` alone, which also removes files and points."""
        return False


@admin.register(Membership)
class MembershipAdmin(SystemScopeAdmin):
    list_display = ("user", "organization", "role", "created_at")
    list_filter = ("organization", "role")
    list_select_related = ("user", "organization")
    raw_id_fields = ("user",)


@admin.register(ApiKey)
class ApiKeyAdmin(SystemScopeAdmin):
    list_display = ("name", "organization", "prefix", "scopes", "created_at", "last_used_at", "revoked_at")
    list_filter = ("organization",)
    list_select_related = ("organization",)
    exclude = ("secret_sha256",)
    actions = ("revoke",)

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Keys are made where they can be shown once: in the settings page or by ``manage.py apikey``."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: ApiKey | None = None) -> bool:
        return False

    @admin.action(description="Revoke the selected keys", permissions=["delete"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> None:
        for key in queryset:
            revoke_key(key)


admin.site.unregister(User)


@admin.register(User)
class OperatorUserAdmin(SystemScopeAdmin, _UserAdmin):
    """Deleting an account touches the documents and conversations that name it."""
