"""The ingestion package as a Django application."""

from __future__ import annotations

from django.apps import AppConfig


class IngestionConfig(AppConfig):
    name = "ingestion"
    verbose_name = "Ingestion"

    def ready(self) -> None:
        from ingestion import audit
        from ingestion.formats import is_paged
        from ingestion.page_images import forget_organization
        from search import maintenance, places
        from tenants.lifecycle import register

        register(forget_organization)
        places.register(is_paged)
        maintenance.register("audit_index", audit.act)
