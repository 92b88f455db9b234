"""The shape of the API's errors and pages, the same for every route.

An error is ``{"error": {"code", "message", "detail", "request_id"}}`` under the true status. ``code`` is
stable, ``message`` is a sentence for a person, ``detail`` is what helps to correct the request (fields, a
hint) or null. Any exception that carries ``code`` and ``status`` is shown as such, so that the packages
below need not know this module. What is unknown becomes a 500 that says nothing but its request id.
"""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Any

from django.core.exceptions import PermissionDenied, SuspiciousOperation, ValidationError
from django.http import Http404, HttpRequest, JsonResponse
from django.utils.dateparse import parse_datetime
from rest_framework import exceptions, pagination
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import set_rollback

from inference import errors as inference_errors

logger = logging.getLogger(__name__)

_RETRY_AFTER_S = 5


class ApiError(Exception):
    """An answer other than success: ``code`` for programs, ``message`` for people, under ``status``."""

    def __init__(
        self,
        code: str,
        message: str,
        *,
        status: int = 400,
        detail: Any = None,
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.status = status
        self.message = message
        self.detail = detail
        self.retry_after_s = retry_after_s


class CursorPagination(pagination.CursorPagination):
    """Pages of 50, newest first, ``?cursor=`` from ``next``; ``?page_size=`` up to 200."""

    ordering = ("-created_at", "-id")
    page_size = 50
    page_size_query_param = "page_size"
    max_page_size = 200

    def decode_cursor(self, request: Request) -> pagination.Cursor | None:
        """The place in the list. Raises ``ValidationError`` for a cursor that was in no ``next`` or ``previous``."""
        try:
            cursor = super().decode_cursor(request)
            known = cursor is None or cursor.position is None or self._is_position(str(cursor.position))
        except (exceptions.NotFound, ValueError):
            known = False
        if not known:
            raise exceptions.ValidationError(
                {"cursor": ["Take the cursor from `next` or `previous` of a page."]}
            )
        return cursor

    def _is_position(self, position: str) -> bool:
        """Whether it may be a value of the field that the list is ordered by: a time, or a row's ``number``."""
        if self.ordering[0] == "number":
            return len(position) < 10 and position.isdecimal()
        return parse_datetime(position) is not None


def exception_handler(error: Exception, context: dict[str, Any]) -> Response:
    """Turns any exception of a view into the one error shape. Never returns ``None``."""
    request = context.get("request")
    set_rollback()
    shown = _as_api_error(error)
    if shown.status >= 500 and shown.code == "server_error":
        logger.error("request %s failed", request_id(request), exc_info=error)
    response = Response(error_body(shown, request), status=shown.status)
    if shown.retry_after_s is not None:
        response["Retry-After"] = str(shown.retry_after_s)
    challenge = getattr(error, "auth_header", None)
    if challenge:
        response["WWW-Authenticate"] = challenge
    return response


def error_body(error: ApiError, request: Any) -> dict[str, Any]:
    """The JSON of an error."""
    return {
        "error": {
            "code": error.code,
            "message": error.message,
            "detail": error.detail,
            "request_id": request_id(request),
        }
    }


def error_response(error: ApiError, request: HttpRequest) -> JsonResponse:
    """The same error from a plain Django view."""
    response = JsonResponse(error_body(error, request), status=error.status)
    if error.retry_after_s is not None:
        response["Retry-After"] = str(error.retry_after_s)
    return response


def request_id(request: Any) -> str:
    """The id under which the server's log knows this request, also its ``X-Request-ID``."""
    return str(getattr(request, "request_id", ""))


def _as_api_error(error: Exception) -> ApiError:
    if isinstance(error, ApiError):
        return error
    if isinstance(error, Http404):
        return NOT_FOUND
    if isinstance(error, PermissionDenied):
        return ApiError("permission_denied", "You may not do this.", status=403)
    if isinstance(error, exceptions.APIException):
        return _of_rest_framework(error)
    if isinstance(error, inference_errors.InferenceError):
        return _of_inference(error)
    if isinstance(error, ValidationError):
        return ApiError("invalid", "The request is not valid.", detail=error.messages)
    if isinstance(error, SuspiciousOperation):
        return ApiError("invalid", "The request is not valid.")
    status = getattr(error, "status", None)
    code = getattr(error, "code", None)
    if isinstance(status, int) and isinstance(code, str) and 400 <= status < 600:
        hint = (
            getattr(error, "detail", None) or getattr(error, "hint", None) or getattr(error, "remedy", None)
        )
        message = str(getattr(error, "message", "") or error)
        wait = getattr(error, "retry_after_s", None)
        return ApiError(code, message, status=status, detail=hint, retry_after_s=wait)
    return SERVER_ERROR


def _of_rest_framework(error: exceptions.APIException) -> ApiError:
    wait = getattr(error, "wait", None)
    if isinstance(error, exceptions.ValidationError):
        return ApiError("invalid", "The request is not valid.", detail=error.detail)
    if isinstance(error, exceptions.NotFound):
        return NOT_FOUND
    code = error.get_codes()
    return ApiError(
        code if isinstance(code, str) else error.default_code,
        str(error.detail) if not isinstance(error.detail, list | dict) else str(error.default_detail),
        status=error.status_code,
        detail=error.detail if isinstance(error.detail, list | dict) else None,
        retry_after_s=None if wait is None else max(1, int(wait)),
    )


def _of_inference(error: inference_errors.InferenceError) -> ApiError:
    unavailable = error.status == HTTPStatus.SERVICE_UNAVAILABLE
    wait = int(getattr(error, "retry_after_s", _RETRY_AFTER_S)) if unavailable else None
    return ApiError(error.code, str(error), status=error.status, detail=error.hint, retry_after_s=wait)


NOT_FOUND = ApiError("not_found", "There is nothing here.", status=404)
SERVER_ERROR = ApiError("server_error", "Something went wrong on the server.", status=500)
