"""Pages that belong to no package: the API's documentation, and the answers when something is missing or
breaks.
"""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.views import defaults
from drf_spectacular.views import SpectacularSwaggerSplitView

from config.api import NOT_FOUND, SERVER_ERROR, ApiError, error_response


class ApiDocsView(SpectacularSwaggerSplitView):
    """Swagger UI with its script in a file of its own, so that the page needs no inline script."""

    url_name = "api-schema"
    authentication_classes = []


def not_found(request: HttpRequest, exception: Exception) -> HttpResponseBase:
    """404, in the API's shape under ``/api/``."""
    if _is_api(request):
        return error_response(NOT_FOUND, request)
    return defaults.page_not_found(request, exception)


def server_error(request: HttpRequest) -> HttpResponseBase:
    """500, in the API's shape under ``/api/``."""
    if _is_api(request):
        return error_response(SERVER_ERROR, request)
    return defaults.server_error(request)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponseBase:
    """400, in the API's shape under ``/api/``."""
    if _is_api(request):
        return error_response(ApiError("invalid", "The request is not valid."), request)
    return defaults.bad_request(request, exception)


def permission_denied(request: HttpRequest, exception: Any) -> HttpResponseBase:
    """403, in the API's shape under ``/api/``."""
    if _is_api(request):
        return error_response(ApiError("permission_denied", "You may not do this.", status=403), request)
    return defaults.permission_denied(request, exception)


def _is_api(request: HttpRequest) -> bool:
    return request.path.startswith("/api/")
