"""``manage.py apikey create|list|revoke``: the operator's way to API keys.

``create`` prints the key alone on stdout, so that a script can take it; everything else goes to stderr.
"""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from tenants.errors import TenantsError
from tenants.keys import create_key, revoke_key
from tenants.models import ApiKey, Organization


class Command(BaseCommand):
    help = "Creates, lists and revokes the API keys of an organisation."

    def add_arguments(self, parser: CommandParser) -> None:
        acts = parser.add_subparsers(dest="act", required=True)
        create = acts.add_parser("create", help="Print a new key on stdout. It is not shown again.")
        create.add_argument("--organization", required=True, help="The organisation's slug.")
        create.add_argument("--name", required=True, help="What the key is for.")
        create.add_argument("--scopes", default="read", help="read, write and admin, separated by commas.")
        listing = acts.add_parser("list", help="The keys of an organisation, without their secrets.")
        listing.add_argument("--organization", required=True, help="The organisation's slug.")
        revoke = acts.add_parser("revoke", help="End a key for good.")
        revoke.add_argument("--organization", required=True, help="The organisation's slug.")
        revoke.add_argument("--prefix", required=True, help="The key's prefix, the part after tsk_.")

    def handle(self, *args: Any, **options: Any) -> None:
        organization = Organization.objects.filter(slug=options["organization"]).first()
        if organization is None:
            raise CommandError(f"There is no organisation {options['organization']}.")
        if options["act"] == "create":
            self._create(organization, options["name"], options["scopes"])
        elif options["act"] == "list":
            self._list(organization)
        else:
            self._revoke(organization, options["prefix"])

    def _create(self, organization: Organization, name: str, scopes: str) -> None:
        asked = [scope.strip() for scope in scopes.split(",") if scope.strip()]
        try:
            _, text = create_key(organization=organization, name=name, scopes=asked, created_by=None)
        except TenantsError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(text)

    def _list(self, organization: Organization) -> None:
        for key in ApiKey.objects.filter(organization=organization).order_by("created_at"):
            state = "revoked" if key.revoked_at else "active"
            self.stdout.write(f"{key.prefix}  {state:8} {','.join(key.scopes):18} {key.name}")

    def _revoke(self, organization: Organization, prefix: str) -> None:
        key = ApiKey.objects.filter(organization=organization, prefix=prefix).first()
        if key is None:
            raise CommandError("There is no such key.")
        revoke_key(key)
        self.stderr.write(f"The key {prefix} is revoked.")
