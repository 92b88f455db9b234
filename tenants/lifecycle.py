"""The end of an organisation: each package removes what it holds, then the rows go.

A package registers its part when its application starts; this module knows none of them.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

from tenants.models import Organization
from tenants.scope import tenant_scope

Part = Callable[[Organization], None]
_parts: list[Part] = []
_last_parts: list[Part] = []


def register(part: Part) -> Part:
    """Adds a package's part. It gets the organisation outside any scope, opens its own, and may run twice."""
    if part not in _parts:
        _parts.append(part)
    return part


def register_last(part: Part) -> Part:
    """Adds what is done once more when the rows are gone, against work that was in hand meanwhile. It gets the organisation
    as it was, and raises nothing, since nobody can call it again."""
    if part not in _last_parts:
        _last_parts.append(part)
    return part


def delete_organization(organization: Organization) -> None:
    """Locks everybody out, runs every part, then deletes the organisation with all its rows.

    When a part fails its error is raised and the organisation stays, locked; calling again goes on.
    """
    organization.is_active = False
    organization.save(update_fields=["is_active"])
    for part in _parts:
        part(organization)
    gone = copy.copy(organization)
    with tenant_scope(organization):
        organization.delete()
    for part in _last_parts:
        part(gone)
