"""`manage.py reindex`: the vector index made anew from the rows, without embedding anything."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from search import reindex
from search.index import IndexFailure, claim, close_all
from search.management import organizations


class Command(BaseCommand):
    help = "Fills the vector index anew from the rows. In the embedded mode, stop the product first."

    def add_arguments(self, parser: ArgumentParser) -> None:
        organizations.add_argument(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            claim()
            for organization in organizations.chosen(options["organization"]):
                points = reindex.reindex(organization)
                self.stdout.write(f"{organization.slug}: {points} passages")
        except IndexFailure as failure:
            raise CommandError(f"{failure} {failure.hint}") from failure
        finally:
            close_all()
