"""Which organisations a command is about."""

from __future__ import annotations

from argparse import ArgumentParser

from django.core.management.base import CommandError

from tenants.models import Organization


def add_argument(parser: ArgumentParser) -> None:
    """Adds ``--organization SLUG``."""
    parser.add_argument("--organization", metavar="SLUG", help="Only this one; otherwise all of them.")


def chosen(slug: str | None) -> list[Organization]:
    """The organisation of that slug, or all by their slugs. Raises ``CommandError`` for an unknown slug."""
    rows = Organization.objects.order_by("slug")
    if slug is None:
        return list(rows)
    found = list(rows.filter(slug=slug))
    if not found:
        raise CommandError(f"There is no organisation {slug!r}.")
    return found
