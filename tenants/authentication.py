"""Who asks over the API, and for which organisation: the key's, or the one whose pages the session visits.

What always holds: ``request.auth`` is a :class:`Credential` or the request is refused; its organisation comes
from the database, never from a header, a body or a query field of the request. A key never has more rights
than the member who made it has now.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.db.models import Q
from django.utils import timezone
from rest_framework.authentication import BaseAuthentication, SessionAuthentication, get_authorization_header
from rest_framework.exceptions import AuthenticationFailed, PermissionDenied
from rest_framework.request import Request

from tenants.models import ApiKey, Membership, Organization, Role

SCOPES = ("read", "write", "admin")
ROLE_SCOPES: dict[str, frozenset[str]] = {
    Role.MEMBER: frozenset({"read"}),
    Role.ADMIN: frozenset(SCOPES),
    Role.OWNER: frozenset(SCOPES),
}
SESSION_KEY = "organization"
_KEY = re.compile(r"tsk_([0-9a-f]{12})_([A-Za-z0-9_-]{43})\Z")
_NO_SECRET = hashlib.sha256(b"no such key").hexdigest()
_USED_EVERY = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Credential:
    """For whom a request may do what. ``user`` is ``None`` for a key that the operator made."""

    organization: Organization
    scopes: frozenset[str]
    user: AbstractBaseUser | None = None
    api_key: ApiKey | None = None


def credential(request: Request) -> Credential:
    """The credential of an authenticated request. Raises ``AuthenticationFailed`` when there is none."""
    if not isinstance(request.auth, Credential):
        raise AuthenticationFailed("Sign in or send an API key.", code="not_authenticated")
    return request.auth


def sha256_of(secret: str) -> str:
    """How a key's secret is kept, as 64 hexadecimal digits. The secret has 256 random bits, so no salt is
    needed.
    """
    return hashlib.sha256(secret.encode("ascii")).hexdigest()


class ApiKeyAuthentication(BaseAuthentication):
    """``Authorization: Bearer tsk_<prefix>_<secret>``. Every failure gives the same 401."""

    def authenticate(self, request: Request) -> tuple[Any, Credential] | None:
        header = get_authorization_header(request).split()
        if not header or header[0].lower() != b"bearer":
            return None
        found = _key_of(header)
        if found is None:
            raise AuthenticationFailed("This API key is not valid.", code="invalid_key")
        user: Any = found.user
        return user or AnonymousUser(), found

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="tessera"'


def _key_of(header: list[bytes]) -> Credential | None:
    text = header[1].decode("ascii", "replace") if len(header) == 2 else ""
    parts = _KEY.match(text)
    if parts is None:
        return None
    prefix, secret = parts.groups()
    key = ApiKey.objects.select_related("organization", "created_by").filter(prefix=prefix).first()
    same = hmac.compare_digest(key.secret_sha256 if key else _NO_SECRET, sha256_of(secret))
    if key is None or not same or key.revoked_at is not None or not key.organization.is_active:
        return None
    scopes = frozenset(key.scopes) & frozenset(SCOPES)
    if key.created_by is not None:
        scopes &= _scopes_of_maker(key)
        if not scopes:
            return None
    _note_use(key)
    return Credential(organization=key.organization, scopes=scopes, user=key.created_by, api_key=key)


def _scopes_of_maker(key: ApiKey) -> frozenset[str]:
    if key.created_by is None or not key.created_by.is_active:
        return frozenset()
    role = (
        Membership.objects.filter(organization_id=key.organization_id, user_id=key.created_by.pk)
        .values_list("role", flat=True)
        .first()
    )
    return ROLE_SCOPES.get(role or "", frozenset())


def _note_use(key: ApiKey) -> None:
    now = timezone.now()
    stale = Q(last_used_at__isnull=True) | Q(last_used_at__lt=now - _USED_EVERY)
    if key.last_used_at is None or key.last_used_at < now - _USED_EVERY:
        ApiKey.objects.filter(stale, pk=key.pk).update(last_used_at=now)


class MemberSessionAuthentication(SessionAuthentication):
    """A signed-in person, with CSRF enforced, in the organisation whose pages the session visited last."""

    def authenticate(self, request: Request) -> tuple[Any, Any] | None:
        signed_in = super().authenticate(request)
        if signed_in is None:
            return None
        user = signed_in[0]
        return user, credential_of_session(user, request.session)


def credential_of_session(user: Any, session: Any) -> Credential:
    """What a signed-in person may do in the organisation that the session visited last. Raises ``PermissionDenied`` without
    one. Whether the request is the person's own (CSRF) is not asked."""
    membership = _membership_of_session(user, session)
    if membership is None:
        raise PermissionDenied(
            "Open a page of an organisation that you belong to first.", code="no_organization"
        )
    scopes = ROLE_SCOPES.get(membership.role, frozenset())
    return Credential(organization=membership.organization, scopes=scopes, user=user)


def _membership_of_session(user: Any, session: Any) -> Membership | None:
    """The membership of the organisation that the session visited last; of a session that visited none, the only one.

    ``None`` otherwise: what was meant for an organisation that the person has left goes to no other one.
    """
    memberships: list[Membership] = list(active_memberships(user))
    visited = session.get(SESSION_KEY)
    if visited is None:
        return memberships[0] if len(memberships) == 1 else None
    return next((each for each in memberships if each.organization.slug == visited), None)


def active_memberships(user: Any) -> Any:
    """The memberships of ``user`` in organisations that are active, by name of the organisation."""
    return (
        Membership.objects.filter(user_id=user.pk, organization__is_active=True)
        .select_related("organization")
        .order_by("organization__name")
    )
