"""The ingestion package as a Django application."""

from __future__ import annotations

from django.apps import AppConfig


class IngestionConfig(AppConfig):
    name = "ingestion"
    verbose_name = "Ingestion"

    def ready(self) -> None:
        from ingestion.page_images import forget_organization
        from tenants.lifecycle import register

        register(forget_organization)
