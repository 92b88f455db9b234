"""`manage.py reindex`: the vector index made anew from the rows, without embedding anything."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from search import maintenance
from search.index import IndexFailure
from search.management import organizations


class Command(BaseCommand):
    help = "Makes the vector index anew from the rows, also while the product runs."

    def add_arguments(self, parser: ArgumentParser) -> None:
        organizations.add_argument(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        slug = options["organization"]
        organizations.chosen(slug)
        try:
            status = maintenance.run(
                "reindex", {"organization": slug}, self.stdout.write, notice=self.stderr.write
            )
        except IndexFailure as failure:
            raise CommandError(f"{failure} {failure.hint}") from failure
        if status:
            raise CommandError("The index was not made anew.", returncode=status)
