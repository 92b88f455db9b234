"""The pages of an organisation's settings, and the way from ``/`` to an organisation."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from tenants import members
from tenants.authentication import SESSION_KEY, active_memberships
from tenants.errors import NotAllowed, Refused, TenantsError
from tenants.forms import KeyForm, MemberForm
from tenants.keys import create_key, revoke_key
from tenants.models import ApiKey, Membership, Role


@require_safe
@login_required
def home(request: HttpRequest) -> HttpResponse:
    """Leads to the organisation visited last, or to the first; says so when there is none."""
    slugs = [membership.organization.slug for membership in active_memberships(request.user)]
    if not slugs:
        return render(request, "tenants/no_organization.html")
    visited = request.session.get(SESSION_KEY)
    return redirect(f"/o/{visited if visited in slugs else slugs[0]}/")


@require_safe
@never_cache
def settings_page(request: HttpRequest, organization: str) -> HttpResponse:
    """Members for everybody; for owners and admins also the forms and the API keys."""
    return _page(request)


@require_POST
def member_add(request: HttpRequest, organization: str) -> HttpResponse:
    """Adds an account. Whether it exists is not said."""
    actor = _manager(request)
    form = MemberForm(request.POST, actor=actor)
    if not form.is_valid():
        _forbid_role(actor, request.POST.get("role", ""))
        return _page(request, member_form=form, status=400)
    if _attempt(request, members.add_member, actor=actor, **form.cleaned_data):
        messages.success(request, "If this account exists, it is a member now.")
    return redirect("settings", actor.organization.slug)


@require_POST
def member_role(request: HttpRequest, organization: str, member: int) -> HttpResponse:
    """Gives a member another role."""
    actor = _manager(request)
    if _attempt(
        request,
        members.change_role,
        actor=actor,
        member=_member(actor, member),
        role=request.POST.get("role", ""),
    ):
        messages.success(request, "The role is changed.")
    return redirect("settings", actor.organization.slug)


@require_POST
def member_remove(request: HttpRequest, organization: str, member: int) -> HttpResponse:
    """Ends a membership."""
    actor = _manager(request)
    if _attempt(request, members.remove_member, actor=actor, member=_member(actor, member)):
        messages.success(request, "The member is removed.")
    return redirect("home") if actor.pk == member else redirect("settings", actor.organization.slug)


@require_POST
@never_cache
def key_create(request: HttpRequest, organization: str) -> HttpResponse:
    """Makes a key and shows it on this one answer; it is kept nowhere."""
    actor = _manager(request)
    form = KeyForm(request.POST)
    if not form.is_valid():
        return _page(request, key_form=form, status=400)
    try:
        _, text = create_key(
            organization=actor.organization,
            name=form.cleaned_data["key_name"],
            scopes=form.cleaned_data["scopes"],
            created_by=actor.user,
        )
    except NotAllowed as error:
        raise PermissionDenied(str(error)) from error
    except Refused as error:
        form.add_error("key_name", str(error))
        return _page(request, key_form=form, status=400)
    return _page(request, new_key=text)


@require_POST
def key_revoke(request: HttpRequest, organization: str, key: int) -> HttpResponse:
    """Ends a key for good."""
    actor = _manager(request)
    row = ApiKey.objects.filter(organization_id=actor.organization_id, pk=key).first()
    if row is None:
        raise Http404("No such key.")
    revoke_key(row)
    messages.success(request, f"The key {row.name} is revoked.")
    return redirect("settings", actor.organization.slug)


def _page(request: HttpRequest, *, status: int = 200, **more: Any) -> HttpResponse:
    actor = _actor(request)
    manages = members.may_manage(actor)
    people = Membership.objects.filter(organization_id=actor.organization_id).select_related("user")
    context = {
        "people": people.order_by("user__username"),
        "manages": manages,
        "roles": members.roles_to_give(actor),
        "member_form": MemberForm(actor=actor) if manages else None,
        "key_form": KeyForm() if manages else None,
        "keys": _keys(actor) if manages else [],
        **more,
    }
    return render(request, "tenants/settings.html", context, status=status)


def _keys(actor: Membership) -> Any:
    keys = ApiKey.objects.filter(organization_id=actor.organization_id, revoked_at__isnull=True)
    return keys.select_related("created_by").order_by("-created_at")


def _actor(request: HttpRequest) -> Membership:
    membership = getattr(request, "membership", None)
    if not isinstance(membership, Membership):
        raise Http404("No such page.")
    return membership


def _manager(request: HttpRequest) -> Membership:
    actor = _actor(request)
    if not members.may_manage(actor):
        raise PermissionDenied("Owners and admins manage an organisation.")
    return actor


def _member(actor: Membership, pk: int) -> Membership:
    member = Membership.objects.filter(organization_id=actor.organization_id, pk=pk).first()
    if member is None:
        raise Http404("No such member.")
    return member


def _forbid_role(actor: Membership, role: str) -> None:
    """A role that exists but may not be given is forbidden, not mistyped."""
    if role in Role.values and role not in members.roles_to_give(actor):
        raise PermissionDenied("Your role does not allow you to give this role.")


def _attempt(request: HttpRequest, act: Any, **arguments: Any) -> bool:
    try:
        act(**arguments)
    except NotAllowed as error:
        raise PermissionDenied(str(error)) from error
    except TenantsError as error:
        messages.error(request, str(error))
        return False
    return True
