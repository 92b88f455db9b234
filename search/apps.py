"""The search package as a Django application."""

from __future__ import annotations

from django.apps import AppConfig


class SearchConfig(AppConfig):
    name = "search"
    verbose_name = "Corpus and conversations"

    def ready(self) -> None:
        from search import maintenance, reindex
        from search.corpus import forget_here, forget_organization
        from tenants.lifecycle import register

        register(forget_organization)
        maintenance.register("reindex", reindex.act)
        maintenance.register("forget_organization", forget_here)
