"""What a browser may do with our pages, on every response; and the id of every request.

The policy allows our own scripts, styles, images and fonts, nothing inline and nobody else's. Two places are
exempt, and only for styles: the API's documentation page and Django's admin. A view that sets its own,
stricter policy (a served file) keeps it.
"""

from __future__ import annotations

import re
import secrets

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from tenants.middleware import Middleware

POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self'",
    "font-src": "'self'",
    "connect-src": "'self'",
    "form-action": "'self'",
    "base-uri": "'none'",
    "frame-ancestors": "'none'",
}
_INLINE_STYLES = {**POLICY, "style-src": "'self' 'unsafe-inline'", "img-src": "'self' data:"}
_INLINE_STYLE_PATHS = ("/api/docs/", "/admin/")
_PERMISSIONS = "camera=(), geolocation=(), microphone=(), payment=(), usb=(), browsing-topics=()"
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{8,64}\Z")


class SecurityHeadersMiddleware(Middleware):
    """Sets Content-Security-Policy, Permissions-Policy and X-Request-ID on every response."""

    def before(self, request: HttpRequest) -> None:
        asked = request.headers.get("X-Request-ID", "")
        request.request_id = asked if _REQUEST_ID.match(asked) else secrets.token_hex(12)  # type: ignore[attr-defined]

    def after(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        response.headers.setdefault("Content-Security-Policy", content_security_policy(request.path))
        response.headers.setdefault("Permissions-Policy", _PERMISSIONS)
        response.headers["X-Request-ID"] = request.request_id  # type: ignore[attr-defined]
        return response


def content_security_policy(path: str) -> str:
    """The policy of the page at ``path``."""
    parts = _INLINE_STYLES if path.startswith(_INLINE_STYLE_PATHS) else POLICY
    return "; ".join(f"{name} {value}" for name, value in parts.items())
