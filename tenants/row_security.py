"""PostgreSQL's second wall: row policies that compare each row with the open scope.

Used as a migration operation by each package that owns tenant tables. The application must connect as a role
without SUPERUSER and BYPASSRLS; FORCE makes the policy hold for the tables' owner as well. What always holds:
without a scope the policy lets no row through, in either direction.
"""

from __future__ import annotations

from typing import Any

from django.db.migrations.operations.base import Operation

POLICY = "tessera_organization"
_CONDITION = (
    "current_setting('tessera.system', true) = 'on' OR "
    "organization_id = NULLIF(current_setting('tessera.organization', true), '')::bigint"
)


class ForceRowSecurity(Operation):
    """Enables and forces row security on the tables of ``models`` (names in this app). Nothing on other
    databases.
    """

    reversible = True
    reduces_to_sql = True

    def __init__(self, models: list[str]) -> None:
        self.models = models

    def state_forwards(self, app_label: str, state: Any) -> None:
        """Row security is no part of the models."""

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        for table in self._tables(app_label, schema_editor, to_state):
            schema_editor.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
            schema_editor.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
            schema_editor.execute(
                f"CREATE POLICY {POLICY} ON {table} USING ({_CONDITION}) WITH CHECK ({_CONDITION})"
            )

    def database_backwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        for table in self._tables(app_label, schema_editor, from_state):
            schema_editor.execute(f"DROP POLICY IF EXISTS {POLICY} ON {table}")
            schema_editor.execute(f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY")
            schema_editor.execute(f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY")

    def describe(self) -> str:
        return f"Force row level security on {', '.join(self.models)}"

    def _tables(self, app_label: str, schema_editor: Any, state: Any) -> list[str]:
        if schema_editor.connection.vendor != "postgresql":
            return []
        found = [state.apps.get_model(app_label, name)._meta.db_table for name in self.models]
        return [schema_editor.quote_name(table) for table in found]
