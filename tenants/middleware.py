"""The organisation of a web page: the one in its address, if the person signed in belongs to it.

What always holds: a view under ``/o/<slug>/`` runs only with ``request.organization`` and
``request.membership`` of an active membership; whether an organisation exists cannot be told from outside. No
tenant scope is held here: views open their own, for as long as a query takes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.conf import settings
from django.contrib.auth.views import redirect_to_login
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import resolve_url

from tenants import scope
from tenants.authentication import SESSION_KEY
from tenants.models import Membership


class Middleware:
    """The shell of a middleware that runs the same under WSGI and ASGI; ``before`` and ``after`` must not block."""

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self.get_response = get_response
        self.is_async = iscoroutinefunction(get_response)
        if self.is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> Any:
        self.before(request)
        if self.is_async:
            return self._answer(request)
        return self.after(request, self.get_response(request))

    async def _answer(self, request: HttpRequest) -> HttpResponseBase:
        return self.after(request, await self.get_response(request))

    def before(self, request: HttpRequest) -> None:
        """Called with every request."""

    def after(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        """Called with every response; returns the one to send."""
        return response


class OrganizationMiddleware(Middleware):
    """Resolves ``organization`` of the matched route to a membership, or answers 404."""

    def before(self, request: HttpRequest) -> None:
        request.organization = None  # type: ignore[attr-defined]
        request.membership = None  # type: ignore[attr-defined]

    def after(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        """Refuses an answer of a view that left its tenant scope open."""
        if scope.active():
            raise scope.ScopeError("A view returned with its tenant scope still open.")
        return response

    def process_view(
        self, request: HttpRequest, view: Any, args: Any, kwargs: dict[str, Any]
    ) -> HttpResponseBase | None:
        slug = kwargs.get("organization")
        if (
            slug is None
            or request.resolver_match is None
            or not request.resolver_match.route.startswith("o/<")
        ):
            return None
        if not request.user.is_authenticated:
            return _sign_in(request)
        membership = (
            Membership.objects.select_related("organization")
            .filter(user_id=request.user.pk, organization__slug=slug, organization__is_active=True)
            .first()
        )
        if membership is None:
            raise Http404("No such page.")
        request.organization = membership.organization  # type: ignore[attr-defined]
        request.membership = membership  # type: ignore[attr-defined]
        if request.method == "GET" and request.session.get(SESSION_KEY) != slug:
            request.session[SESSION_KEY] = slug
        return None


def _sign_in(request: HttpRequest) -> HttpResponseBase:
    """The same answer whether or not the organisation exists."""
    if request.headers.get("HX-Request") == "true":
        response = HttpResponse()
        response["HX-Redirect"] = resolve_url(settings.LOGIN_URL)
        return response
    wants_page = request.accepts("text/html") and request.method in ("GET", "HEAD")
    if not wants_page:
        raise Http404("No such page.")
    return redirect_to_login(request.get_full_path())
