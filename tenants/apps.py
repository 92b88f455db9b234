"""Installs the guard of :mod:`tenants.scope` on every database connection."""

from __future__ import annotations

from django.apps import AppConfig
from django.db.backends.signals import connection_created


class TenantsConfig(AppConfig):
    name = "tenants"
    verbose_name = "Organisations"

    def ready(self) -> None:
        import tenants.openapi  # noqa: F401 registers itself
        from tenants.scope import guard_connection

        connection_created.connect(guard_connection, dispatch_uid="tenants.scope.guard")
