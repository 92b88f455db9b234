"""The ingestion package as a Django application."""

from __future__ import annotations

from django.apps import AppConfig


class IngestionConfig(AppConfig):
    name = "ingestion"
    verbose_name = "Ingestion"

    def ready(self) -> None:
        from ingestion import audit
        from ingestion.page_images import forget_organization
        from search import maintenance
        from tenants.lifecycle import register

        register(forget_organization)
        maintenance.register("audit_index", audit.act)
