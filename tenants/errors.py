"""What can go wrong when people manage an organisation, as types with a code, a status and a sentence."""

from __future__ import annotations


class TenantsError(Exception):
    """Base: ``code`` for programs, ``status`` for HTTP, ``str(error)`` for people."""

    code = "refused"
    status = 400


class Refused(TenantsError):
    """What was asked makes no sense as it stands."""


class NotAllowed(TenantsError):
    """The person's role does not allow it."""

    code = "permission_denied"
    status = 403
