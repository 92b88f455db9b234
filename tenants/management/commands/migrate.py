"""Django's ``migrate`` in the system scope: a migration changes the rows of every organisation."""

from __future__ import annotations

from typing import Any

from django.core.management.commands.migrate import Command as Migrate

from tenants import database_role
from tenants.scope import maintenance_scope


class Command(Migrate):
    def handle(self, *args: Any, **options: Any) -> str | None:
        database_role.tables_are_in_the_making()
        with maintenance_scope("migrations change the rows of every organisation"):
            return super().handle(*args, **options)
