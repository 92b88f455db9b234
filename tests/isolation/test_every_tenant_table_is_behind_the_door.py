"""A model with an ``organization`` is reached through the scope, and row policies cover its table."""

from __future__ import annotations

import ast
from pathlib import Path

from django.apps import apps
from django.db.migrations.loader import MigrationLoader

from tenants.row_security import ForceRowSecurity
from tenants.scope import TenantManager, tenant_models

ROOT = Path(__file__).resolve().parents[2]
OWN = {"tenants.Membership", "tenants.ApiKey"}
"""Tables of ``tenants`` itself: read to find out which organisation is asked for."""
SYSTEM_SCOPE_CALLERS = {
    "ingestion/admin.py",
    "ingestion/claiming.py",
    "ingestion/index_counts.py",
    "ingestion/jobs.py",
    "ingestion/leases.py",
    "ingestion/overview.py",
    "search/evaluation/jobs.py",
    "tenants/admin.py",
}
MAINTENANCE_CALLERS = {"tenants/management/commands/flush.py", "tenants/management/commands/migrate.py"}
PACKAGES = ("config", "ingestion", "search", "tenants")


def test_every_model_of_an_organisation_uses_the_manager_of_the_scope() -> None:
    with_organization = {
        model._meta.label
        for model in apps.get_models()
        if any(field.name == "organization" for field in model._meta.concrete_fields)
    }
    assert with_organization - OWN == {model._meta.label for model in tenant_models()}
    for model in tenant_models():
        assert isinstance(model._base_manager, TenantManager), model
        assert all(isinstance(manager, TenantManager) for manager in model._meta.managers), model


def test_every_tenant_table_has_row_security() -> None:
    loader = MigrationLoader(None, ignore_no_migrations=True)
    covered = {
        f"{app}.{name}"
        for (app, _), migration in loader.disk_migrations.items()
        for operation in migration.operations
        if isinstance(operation, ForceRowSecurity)
        for name in operation.models
    }
    assert covered == {model._meta.label for model in tenant_models()}


def callers(function: str) -> set[str]:
    found = set()
    for package in PACKAGES:
        for file in (ROOT / package).rglob("*.py"):
            tree = ast.parse(file.read_text(encoding="utf-8"))
            for node in ast.walk(tree):
                if isinstance(node, ast.Call) and function in (
                    getattr(node.func, "id", None),
                    getattr(node.func, "attr", None),
                ):
                    found.add(file.relative_to(ROOT).as_posix())
    return found


def test_the_system_scope_is_opened_only_where_it_was_argued_for() -> None:
    assert callers("system_scope") == SYSTEM_SCOPE_CALLERS


def test_the_maintenance_scope_is_opened_by_the_two_commands_only() -> None:
    assert callers("maintenance_scope") == MAINTENANCE_CALLERS


def test_no_package_but_tenants_reaches_around_the_manager() -> None:
    for package in ("config", "ingestion", "search"):
        for file in (ROOT / package).rglob("*.py"):
            text = file.read_text(encoding="utf-8")
            for hole in (
                "connection.cursor(",
                "connections[",
                "RawSQL",
                "._raw_delete(",
                "_active.set(",
                ".raw(",
            ):
                allowed = hole == "connection.cursor(" and file.name == "health.py"
                assert allowed or hole not in text, f"{file.relative_to(ROOT)} uses {hole}"
