"""`manage.py audit_index`: whether the index holds exactly what the rows say. Exit status 1 when not."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError

from search import reindex
from search.index import IndexFailure, claim, close_all
from search.management import organizations

SHOWN = 20
"""Ids printed of each kind."""


class Command(BaseCommand):
    help = (
        "Compares ids and vector hashes of the index with the rows, and prints what differs. "
        "In the embedded mode, stop the product first."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        organizations.add_argument(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            claim()
            clean = [self._audit(o) for o in organizations.chosen(options["organization"])]
            orphans = sorted(reindex.orphans()) if options["organization"] is None else []
        except IndexFailure as failure:
            raise CommandError(f"{failure} {failure.hint}") from failure
        finally:
            close_all()
        for key in orphans:
            self.stdout.write(f"LEAK: an index of organisation {key}, which does not exist")
        if orphans or not all(clean):
            raise CommandError("The index differs from the rows. `manage.py reindex` makes it anew.")

    def _audit(self, organization: Any) -> bool:
        found = reindex.audit(organization)
        state = "equal" if found.clean else "DIFFERENT"
        self.stdout.write(f"{organization.slug}: {found.points} points, {found.rows} passages, {state}")
        self._list("LEAK, a point without a row", found.leaked)
        self._list("missing, a passage without a point", found.missing)
        self._list("changed, a point with another vector", found.changed)
        if found.unpublished:
            self.stdout.write(f"  {len(found.unpublished)} points of versions that are not published")
        return found.clean

    def _list(self, what: str, ids: Sequence[UUID]) -> None:
        for i in ids[:SHOWN]:
            self.stdout.write(f"  {what}: {i}")
        if len(ids) > SHOWN:
            self.stdout.write(f"  … and {len(ids) - SHOWN} more")
