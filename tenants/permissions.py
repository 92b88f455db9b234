"""Which scope a request needs: ``read`` to look, ``write`` to change, unless the view says otherwise."""

from __future__ import annotations

from typing import Any

from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request

from tenants.authentication import Credential


class HasScope(BasePermission):
    """Holds the credential's scopes against the view's ``required_scopes``, a ``{method: scope}``.

    HEAD needs what GET needs. A method that is not named there needs ``read`` if it is safe and ``write`` if it is
    not. Without a credential the request is refused as not authenticated.
    """

    message = "This key or role lacks the scope that the request needs."
    code = "missing_scope"

    def has_permission(self, request: Request, view: Any) -> bool:
        if not isinstance(request.auth, Credential):
            return False
        method = "GET" if request.method == "HEAD" else request.method or ""
        required: dict[str, str] = getattr(view, "required_scopes", {})
        return required.get(method, "read" if method in SAFE_METHODS else "write") in request.auth.scopes
