"""Refuses a PostgreSQL role that row-level security does not bind, and a table without it.

A superuser, or a role with BYPASSRLS, reads every organisation's rows whatever the policies say, so that the second
wall behind ``tenants.scope`` would stand in the documentation only. Servers ask when they start
(:func:`refuse_at_start`); commands, and a server whose database came later, are stopped at their first connection.
"""

from __future__ import annotations

import sys
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.db import DEFAULT_DB_ALIAS, OperationalError, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

from tenants.row_security import POLICY
from tenants.scope import tenant_models

_ROLE = "SELECT rolname, rolsuper, rolbypassrls FROM pg_roles WHERE rolname = current_user"
_OPEN = """
SELECT relname FROM pg_class
WHERE pg_class.oid IN (SELECT to_regclass(quote_ident(name)) FROM unnest(%s::text[]) AS name)
AND NOT (relrowsecurity AND relforcerowsecurity AND EXISTS (
    SELECT FROM pg_policy WHERE polrelid = pg_class.oid AND polname = %s))
ORDER BY relname
"""
_CONNECT_TIMEOUT_S = 5
_looks_at_tables = True


def watch_first_connection() -> None:
    """Checks role and tables when this process first connects, and not again once all was found right."""
    connection_created.connect(_first_connection, dispatch_uid=__name__)


def tables_are_in_the_making() -> None:
    """Said by ``migrate``: this process looks at the role alone."""
    global _looks_at_tables
    _looks_at_tables = False


def refuse_at_start() -> None:
    """Ends a process whose role or tables are wrong, with what to do about it. A database that does not answer is
    looked at when it does."""
    own = connections[DEFAULT_DB_ALIAS].copy()
    if own.vendor != "postgresql":
        return
    options: dict[str, Any] = own.settings_dict["OPTIONS"]
    options.pop("pool", None)
    options.setdefault("connect_timeout", _CONNECT_TIMEOUT_S)
    try:
        refuse_unbound_role(own)
        refuse_open_tables(own)
    except OperationalError:
        return
    except ImproperlyConfigured as wrong:
        sys.exit(str(wrong))
    finally:
        own.close()


def refuse_unbound_role(connection: BaseDatabaseWrapper) -> None:
    """Raises ``ImproperlyConfigured`` for a role that the policies do not bind. Nothing on other databases."""
    if connection.vendor != "postgresql":
        return
    with connection.cursor() as cursor:
        cursor.execute(_ROLE)
        name, is_superuser, bypasses = cursor.fetchone()
    if is_superuser or bypasses:
        what = "is a superuser" if is_superuser else "has BYPASSRLS"
        raise ImproperlyConfigured(
            f"The PostgreSQL role {name} {what}, so row-level security does not bind it. Connect as a role of its own: "
            "CREATE ROLE tessera LOGIN NOSUPERUSER NOBYPASSRLS, owner of the database (docs/production.md)."
        )


def refuse_open_tables(connection: BaseDatabaseWrapper) -> None:
    """Raises ``ImproperlyConfigured`` when a table of an organisation's rows lacks its policy or FORCE ROW LEVEL
    SECURITY. Tables that do not exist yet are no finding, and nothing is on other databases."""
    if connection.vendor != "postgresql":
        return
    with connection.cursor() as cursor:
        cursor.execute(_OPEN, [[model._meta.db_table for model in tenant_models()], POLICY])
        names = [row[0] for row in cursor.fetchall()]
    if names:
        raise ImproperlyConfigured(
            f"Row-level security is not forced on {', '.join(names)}. Run `manage.py migrate`; where it has nothing to "
            f"do, repair each table: ALTER TABLE ... ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY, and the policy "
            f"{POLICY} of tenants/row_security.py."
        )


def _first_connection(connection: BaseDatabaseWrapper, **kwargs: Any) -> None:
    try:
        refuse_unbound_role(connection)
        if _looks_at_tables:
            refuse_open_tables(connection)
    except BaseException:
        connection.close()  # else the next query of this thread would find it open, and not ask again
        raise
    connection_created.disconnect(dispatch_uid=__name__)
