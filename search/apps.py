"""The search package as a Django application."""

from __future__ import annotations

from django.apps import AppConfig


class SearchConfig(AppConfig):
    name = "search"
    verbose_name = "Corpus and conversations"

    def ready(self) -> None:
        from search import maintenance, reindex
        from search.corpus import forget_here, forget_index_here, forget_organization, forget_what_came_late
        from tenants.lifecycle import register, register_last

        register(forget_organization)
        register_last(forget_what_came_late)
        maintenance.register("reindex", reindex.act)
        maintenance.register("forget_organization", forget_here)
        maintenance.register("forget_index", forget_index_here)
