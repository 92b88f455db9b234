"""``manage.py organization create|list|delete``: the operator's way to organisations."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser

from tenants.lifecycle import delete_organization
from tenants.members import find_account
from tenants.models import Membership, Organization, Role


class Command(BaseCommand):
    help = "Creates, lists and deletes organisations."

    def add_arguments(self, parser: CommandParser) -> None:
        acts = parser.add_subparsers(dest="act", required=True)
        create = acts.add_parser("create", help="Make an organisation and its owner.")
        create.add_argument("slug", help="Its name in web addresses: a-z, 0-9 and hyphens.")
        create.add_argument("--name", required=True, help="Its name for people.")
        create.add_argument("--owner", required=True, help="User name or e-mail address of an account.")
        acts.add_parser("list", help="The organisations.")
        delete = acts.add_parser("delete", help="Delete an organisation with everything it holds, for good.")
        delete.add_argument("slug", help="The organisation's slug.")
        delete.add_argument("--yes", action="store_true", help="Do not ask.")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["act"] == "create":
            self._create(options["slug"], options["name"], options["owner"])
        elif options["act"] == "delete":
            self._delete(options["slug"], asked=options["yes"])
        else:
            for organization in Organization.objects.filter(is_internal=False).order_by("slug"):
                state = "active" if organization.is_active else "locked"
                self.stdout.write(f"{organization.slug:24} {state:8} {organization.name}")

    def _create(self, slug: str, name: str, owner: str) -> None:
        account = find_account(owner)
        if account is None:
            raise CommandError(f"There is no active account {owner}.")
        organization = Organization(slug=slug, name=name)
        try:
            organization.full_clean()
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from error
        organization.save()
        Membership.objects.create(organization=organization, user_id=account.pk, role=Role.OWNER)
        self.stdout.write(f"Created /o/{slug}/.")

    def _delete(self, slug: str, *, asked: bool) -> None:
        organization = Organization.objects.filter(slug=slug).first()
        if organization is None:
            raise CommandError(f"There is no organisation {slug}.")
        if not asked and input(f"Type {slug} to delete it with everything it holds: ") != slug:
            raise CommandError("Nothing was deleted.")
        delete_organization(organization)
        self.stdout.write(f"Deleted {slug}.")
