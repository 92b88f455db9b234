"""`manage.py ingest DIR --organization SLUG`: a folder's files become documents. Exit status 1 where one was refused."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from ingestion import importing
from search.models import Collection
from tenants.models import Organization
from tenants.scope import tenant_scope


class Command(BaseCommand):
    help = (
        "Queues the files of a folder as a bulk import; also while the product runs. Run again, it sends new and changed "
        "files only."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("folder", type=Path)
        parser.add_argument("--organization", required=True, metavar="SLUG")
        parser.add_argument("--collection", metavar="NAME", help="Of new documents; made if there is none.")
        parser.add_argument("--pattern", default="*", help="Names of files, such as '*.pdf'. Default: all.")
        parser.add_argument("--no-recursive", action="store_true", help="Leave out folders of the folder.")
        parser.add_argument(
            "--source",
            default="",
            metavar="NAME",
            help="What the ids begin with. Default: the folder's name.",
        )
        parser.add_argument(
            "--delete-missing", action="store_true", help="Delete the source's documents whose file is gone."
        )
        parser.add_argument("--wait", action="store_true", help="Wait until every file is ready or failed.")

    def handle(self, *args: Any, **options: Any) -> None:
        organization = Organization.objects.filter(slug=options["organization"]).first()
        if organization is None:
            raise CommandError(f"There is no organisation {options['organization']!r}.")
        if not options["folder"].is_dir():
            raise CommandError(f"{options['folder']} is no folder.")
        report = importing.import_folder(
            organization=organization,
            folder=options["folder"],
            source=options["source"],
            collection=_collection(organization, options["collection"]),
            pattern=options["pattern"],
            recursive=not options["no_recursive"],
            delete_missing=options["delete_missing"],
            on_file=self._say if options["verbosity"] > 1 else lambda path, outcome: None,
        )
        self.stdout.write(
            f"{report.added} added, {report.changed} changed, {report.unchanged} unchanged, "
            f"{report.deleted} deleted, {len(report.refused)} refused"
        )
        if options["wait"]:
            for waiting in importing.wait_for(organization, report):
                self.stdout.write(f"{waiting} of {len(report.sent)} to go", ending="\r")
            self.stdout.write(f"{len(report.sent)} of {len(report.sent)} done")
        for each in report.refused:
            self.stderr.write(f"{each.path}: {each.code}: {each.message}")
        if report.refused:
            raise CommandError(f"{len(report.refused)} of the files or folders cannot be searched.")

    def _say(self, path: str, outcome: str) -> None:
        self.stdout.write(f"{outcome}: {path}")


def _collection(organization: Organization, name: str | None) -> Collection | None:
    if not name:
        return None
    with tenant_scope(organization):
        return Collection.objects.get_or_create(organization=organization, name=name)[0]
