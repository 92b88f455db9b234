"""What every page knows: the organisation it shows, the person's others, and how far the models are."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject

from inference import runtime
from tenants.authentication import active_memberships


def product(request: HttpRequest) -> dict[str, Any]:
    """``organization``, ``membership`` (or ``None``), ``memberships`` (read when shown), ``can_manage`` and
    ``models`` with ``state`` and ``detail``."""
    models = runtime.current()
    membership = getattr(request, "membership", None)
    return {
        "organization": getattr(request, "organization", None),
        "membership": membership,
        "memberships": SimpleLazyObject(lambda: _memberships(request)),
        "can_manage": membership is not None and membership.role in ("owner", "admin"),
        "models": {"state": models.state, "detail": models.detail},
    }


def _memberships(request: HttpRequest) -> list[Any]:
    user = getattr(request, "user", None)
    if user is None or not user.is_authenticated:
        return []
    return list(active_memberships(user))
