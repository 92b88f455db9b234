"""The application that wires the others."""

from __future__ import annotations

from django.apps import AppConfig


class ConfigAppConfig(AppConfig):
    name = "config"
    verbose_name = "Tessera"

    def ready(self) -> None:
        from config import checks
        from config.env import env
        from tenants import database_role

        assert checks.check_settings
        if env().mode == "production":
            database_role.watch_first_connection()
