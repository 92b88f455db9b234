"""What the operator's pages share: who may open one, its fragment for refreshes, and the tiles on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.urls import reverse

from config.metrics import is_operator

MOST_ROWS = 50


@dataclass(frozen=True, slots=True)
class Tile:
    """One figure. ``part``: of a whole, in percent, where there is one."""

    label: str
    value: str
    unit: str = ""
    note: str = ""
    part: float | None = None


def operator_page(
    request: HttpRequest, name: str, snapshot: Callable[[], dict[str, Any]]
) -> HttpResponseBase:
    """``config/NAME.html`` with what ``snapshot`` says; its changing part ``_NAME.html`` alone for htmx. Leads everybody
    but the operator to the sign-in."""
    htmx = request.headers.get("HX-Request") == "true"
    if htmx and not is_operator(request):  # an open page whose session ended: let the browser load it anew
        return HttpResponse(status=204, headers={"HX-Refresh": "true"})
    return for_the_operator(request, f"config/{'_' if htmx else ''}{name}.html", snapshot)


def for_the_operator(
    request: HttpRequest, template: str, context: Callable[[], dict[str, Any]]
) -> HttpResponseBase:
    """The template with what ``context`` says, kept by no cache. Leads everybody but the operator to the sign-in, before
    ``context`` is asked."""
    if not is_operator(request):
        return redirect_to_login(request.get_full_path(), reverse("admin:login"))
    response = render(request, template, context())
    response["Cache-Control"] = "no-store"
    return response
