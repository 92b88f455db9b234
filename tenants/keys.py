"""API keys: made once, shown once, kept as a hash.

``tsk_<prefix>_<secret>``: the prefix (48 random bits) finds the row, the secret (256 random bits) proves
it. What always holds: a person cannot make a key with more rights than the person has.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable

from django.contrib.auth.models import AbstractBaseUser
from django.utils import timezone

from tenants.authentication import ROLE_SCOPES, SCOPES, sha256_of
from tenants.errors import NotAllowed, Refused
from tenants.models import ApiKey, Membership, Organization


def create_key(
    *, organization: Organization, name: str, scopes: Iterable[str], created_by: AbstractBaseUser | None
) -> tuple[ApiKey, str]:
    """Returns the key's row and its text, which cannot be read again.

    Raises ``Refused`` for a missing name or an unknown scope, ``NotAllowed`` for a scope beyond the
    maker's role. ``created_by`` is ``None`` for the operator.
    """
    asked = set(scopes)
    wanted = [scope for scope in SCOPES if scope in asked]
    if len(wanted) != len(asked) or not wanted:
        raise Refused(f"Choose from the scopes {', '.join(SCOPES)}.")
    label = name.strip()
    if not label or len(label) > 80 or not label.isprintable():
        raise Refused("Give the key a name of at most 80 characters.")
    if created_by is not None:
        _check_maker(organization, created_by, wanted)
    prefix, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
    key = ApiKey.objects.create(
        organization=organization,
        name=label,
        prefix=prefix,
        secret_sha256=sha256_of(secret),
        scopes=wanted,
        created_by_id=None if created_by is None else created_by.pk,
    )
    return key, f"tsk_{prefix}_{secret}"


def revoke_key(key: ApiKey) -> None:
    """Ends a key for good. Revoking it again changes nothing."""
    ApiKey.objects.filter(pk=key.pk, revoked_at__isnull=True).update(revoked_at=timezone.now())
    key.refresh_from_db(fields=["revoked_at"])


def _check_maker(organization: Organization, maker: AbstractBaseUser, wanted: list[str]) -> None:
    membership = Membership.objects.filter(organization=organization, user_id=maker.pk).first()
    allowed = ROLE_SCOPES.get(membership.role, frozenset()) if membership else frozenset()
    if not set(wanted) <= allowed:
        raise NotAllowed("Your role does not allow a key with these scopes.")
