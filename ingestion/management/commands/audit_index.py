"""`manage.py audit_index`: whether rows, points and files say the same. Exit status 1 when not."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from search import maintenance
from search.index import IndexFailure
from search.management import organizations


class Command(BaseCommand):
    help = "Compares rows, points of the index and stored files, and prints what differs. Also while the product runs."

    def add_arguments(self, parser: ArgumentParser) -> None:
        organizations.add_argument(parser)
        parser.add_argument("--repair", action="store_true", help="Mend what can be mended.")

    def handle(self, *args: Any, **options: Any) -> None:
        slug, repair = options["organization"], options["repair"]
        organizations.chosen(slug)
        try:
            status = maintenance.run(
                "audit_index",
                {"organization": slug, "repair": repair},
                self.stdout.write,
                notice=self.stderr.write,
            )
        except IndexFailure as failure:
            raise CommandError(f"{failure} {failure.hint}") from failure
        if status and repair:
            raise CommandError("What is left cannot be mended from here.", returncode=status)
        if status:
            raise CommandError(
                "Rows, points and files differ. `manage.py audit_index --repair` mends them.",
                returncode=status,
            )
