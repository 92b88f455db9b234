"""Django's ``migrate`` in the system scope: a migration changes the rows of every organisation."""

from __future__ import annotations

from typing import Any

from django.core.management.commands.migrate import Command as Migrate

from tenants.scope import maintenance_scope


class Command(Migrate):
    def handle(self, *args: Any, **options: Any) -> str | None:
        with maintenance_scope("migrations change the rows of every organisation"):
            return super().handle(*args, **options)
