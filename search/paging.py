"""Pages of the API: every list route is cut by the paginator of the settings and described the same way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiParameter, inline_serializer
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.settings import api_settings
from rest_framework.views import APIView

PAGE_PARAMETERS = [
    OpenApiParameter("cursor", str, description="From `next` or `previous` of a page."),
    OpenApiParameter("page_size", int, description="Up to 200; 50 by default."),
]
"""What every list route takes."""


def page_response(
    view: APIView,
    request: Request,
    rows: QuerySet[Any],
    as_json: Callable[[list[Any]], Any],
    *,
    ordering: Sequence[str] = (),
) -> Response:
    """The page of ``rows`` that the request asks for, as ``{next, previous, results}``. ``as_json`` turns its rows into what
    is sent; ``ordering`` stands in the place of newest first. Rows are read at once: call it inside their scope. Raises
    ``ValidationError`` for a cursor that no page gave.
    """
    kind: Any = api_settings.DEFAULT_PAGINATION_CLASS
    paginator = kind()
    if ordering:
        paginator.ordering = tuple(ordering)
    page = paginator.paginate_queryset(rows, request, view=view)
    answer: Response = paginator.get_paginated_response(as_json(page or []))
    return answer


def page_of(item: type[serializers.BaseSerializer[Any]]) -> Any:
    """How the API's description shows a page of ``item``."""
    return inline_serializer(
        name=item.__name__.removesuffix("Serializer") + "Page",
        fields={
            "next": serializers.URLField(allow_null=True),
            "previous": serializers.URLField(allow_null=True),
            "results": item(many=True),
        },
    )
