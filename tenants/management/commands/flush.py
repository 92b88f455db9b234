"""Django's ``flush`` in the system scope: it empties the tables of every organisation."""

from __future__ import annotations

from typing import Any

from django.core.management.commands.flush import Command as Flush

from tenants.scope import maintenance_scope


class Command(Flush):
    def handle(self, **options: Any) -> str | None:  # type: ignore[override]
        with maintenance_scope("a flush empties the tables of every organisation"):
            return super().handle(**options)
