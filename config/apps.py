"""The application that wires the others."""

from __future__ import annotations

from django.apps import AppConfig


class ConfigAppConfig(AppConfig):
    name = "config"
    verbose_name = "Tessera"

    def ready(self) -> None:
        from config import checks

        assert checks.check_settings
