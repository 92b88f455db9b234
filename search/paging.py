"""Pages of the API: every list route is cut by the paginator of the settings and described the same way."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import inline_serializer
from rest_framework import serializers
from rest_framework.settings import api_settings


def new_paginator() -> Any:
    """One request's paginator, of the class in ``DEFAULT_PAGINATION_CLASS``."""
    kind: Any = api_settings.DEFAULT_PAGINATION_CLASS
    return kind()


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
