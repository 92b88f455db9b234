"""Who belongs to an organisation: adding, changing and removing members.

What always holds: nobody gives or takes a role above the own one, nobody changes the own role, and an
organisation keeps an owner. A change is locked on the organisation and decided by roles read under the lock, so
that of two changes at once the later one knows the earlier.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from allauth.account.models import EmailAddress
from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AbstractBaseUser
from django.db import transaction

from tenants.errors import NotAllowed, Refused
from tenants.models import Membership, Organization, Role

_RANK: dict[str, int] = {Role.MEMBER: 0, Role.ADMIN: 1, Role.OWNER: 2}


def may_manage(membership: Membership) -> bool:
    """Whether the member manages members and keys: owners and admins do."""
    return _RANK.get(membership.role, 0) >= _RANK[Role.ADMIN]


def roles_to_give(actor: Membership) -> list[Role]:
    """The roles that ``actor`` may give to others."""
    return [role for role in Role if may_manage(actor) and _RANK[role] <= _RANK[actor.role]]


def add_member(*, actor: Membership, name: str, role: str) -> Membership | None:
    """Adds the account with this user name or e-mail address; who is a member already keeps the role.

    Returns ``None`` when there is no such account: show the same answer for both. Raises ``NotAllowed`` or
    ``Refused``.
    """
    with _changing(actor) as by:
        _check_gives(by, role)
        user = find_account(name)
        if user is None:
            return None
        membership, _ = Membership.objects.get_or_create(
            organization_id=by.organization_id, user_id=user.pk, defaults={"role": role}
        )
    return membership


def change_role(*, actor: Membership, member: Membership, role: str) -> None:
    """Gives ``member`` another role. Raises ``NotAllowed`` or ``Refused``."""
    with _changing(actor) as by:
        _check_gives(by, role)
        touched = _touched(by, member)
        if by.pk == touched.pk:
            raise NotAllowed("Nobody changes the own role. Ask another owner.")
        if role != Role.OWNER:
            _check_not_last_owner(touched)
        Membership.objects.filter(pk=touched.pk).update(role=role)


def remove_member(*, actor: Membership, member: Membership) -> None:
    """Ends a membership; the person's API keys end with it. Raises ``NotAllowed`` or ``Refused``."""
    with _changing(actor) as by:
        touched = _touched(by, member)
        _check_not_last_owner(touched)
        Membership.objects.filter(pk=touched.pk).delete()


def find_account(name: str) -> AbstractBaseUser | None:
    """The active account with this user name, or with this e-mail address if exactly one has it.

    Where strangers may register, an address counts only when it was verified.
    """
    wanted = name.strip()
    if not wanted:
        return None
    users = get_user_model().objects.filter(is_active=True)
    by_name: AbstractBaseUser | None = users.filter(username=wanted).first()
    if by_name is not None or "@" not in wanted:
        return by_name
    if settings.SIGNUP_OPEN:
        owners = EmailAddress.objects.filter(email__iexact=wanted, verified=True).values("user_id")
        found = list(users.filter(pk__in=owners)[:2])
    else:
        found = list(users.filter(email__iexact=wanted)[:2])
    return found[0] if len(found) == 1 else None


def _check_gives(actor: Membership, role: str) -> None:
    if role not in _RANK:
        raise Refused("There is no such role.")
    if role not in roles_to_give(actor):
        raise NotAllowed("Your role does not allow you to give this role.")


@contextmanager
def _changing(actor: Membership) -> Iterator[Membership]:
    """Locks the organisation for a change by ``actor``, whose membership it reads anew."""
    with transaction.atomic():
        Organization.objects.select_for_update().get(pk=actor.organization_id)
        now = Membership.objects.filter(pk=actor.pk).first()
        if now is None:
            raise NotAllowed("You do not belong to this organisation any more.")
        yield now


def _touched(actor: Membership, member: Membership) -> Membership:
    """The member as it is now, if ``actor`` may change it."""
    if member.organization_id != actor.organization_id:
        raise NotAllowed("This member belongs to another organisation.")
    now = Membership.objects.filter(pk=member.pk).first()
    if now is None:
        raise Refused("This person is no member any more.")
    if not may_manage(actor) or _RANK.get(now.role, 0) > _RANK[actor.role]:
        raise NotAllowed("Your role does not allow you to change this member.")
    return now


def _check_not_last_owner(member: Membership) -> None:
    if member.role != Role.OWNER:
        return
    others = Membership.objects.filter(
        organization_id=member.organization_id, role=Role.OWNER, user__is_active=True
    )
    if not others.exclude(pk=member.pk).exists():
        raise Refused("An organisation keeps at least one owner.")
