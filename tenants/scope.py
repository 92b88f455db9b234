"""The one door to the rows of an organisation: outside it no tenant table is read or written.

What always holds:

* A query on a tenant table outside any scope raises :class:`ScopeError`, by whatever path it came: the
  manager, a related manager, ``_base_manager``, a deletion's collector, raw SQL. Two walls do it. The
  manager refuses to make a query set, which gives a traceback at the right place, and :func:`guard`,
  wrapped around every statement of every connection, looks at the SQL itself, so that a path nobody
  thought of is refused as well.
* A query set belongs to the scope in which it was made. Evaluated in the scope of another organisation it
  raises; evaluated later, outside, it raises.
* Inside a scope every query carries ``organization_id = <the scope's>``, every inserted row gets that
  organisation, and a row of another one is refused; a foreign key finds rows of the scope alone.
* On PostgreSQL the scope is also a setting of a short transaction, which the policies of
  :mod:`tenants.row_security` compare with each row.

A scope must be short and must not be held over a ``yield``: a context variable set inside a generator is
seen by its consumer.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NoReturn, TypeVar

from django.apps import apps
from django.db import DEFAULT_DB_ALIAS, IntegrityError, connections, models, transaction
from django.db.models.lookups import Exact

from tenants.models import Organization

M = TypeVar("M", bound=models.Model)


class ScopeError(RuntimeError):
    """Tenant rows were touched without a scope, or across two. Always a defect of the program, never of a
    request.
    """

    code = "scope_error"


@dataclass(frozen=True, slots=True)
class _Scope:
    organization: Organization | None  # None: the system scope
    reason: str = ""

    @property
    def key(self) -> int | None:
        return None if self.organization is None else int(self.organization.pk)


_active: ContextVar[_Scope | None] = ContextVar("tessera_scope", default=None)


def active() -> bool:
    """Whether any scope is open in this context."""
    return _active.get() is not None


def current_organization() -> Organization:
    """The organisation of the open scope. Raises :class:`ScopeError` outside, and in a system scope."""
    organization = _require().organization
    if organization is None:
        raise ScopeError("The system scope has no organisation. Enter tenant_scope(organization).")
    return organization


@contextlib.contextmanager
def tenant_scope(organization: Organization, *, using: str = DEFAULT_DB_ALIAS) -> Iterator[Organization]:
    """Opens the rows of ``organization``, and of no other, until the block ends.

    May be nested in itself and narrows a system scope. Raises :class:`ScopeError` for anything but a saved
    ``Organization`` and inside the scope of another one. On PostgreSQL the block is one transaction.
    """
    if not isinstance(organization, Organization) or organization.pk is None:
        raise ScopeError("tenant_scope needs a saved Organization. Without one there are no rows to see.")
    outer = _active.get()
    if outer is not None and outer.key not in (None, organization.pk):
        raise ScopeError(
            f"The scope of organisation {outer.key} is open; leave it before entering {organization.pk}."
        )
    with _opened(_Scope(organization), using):
        yield organization


@contextlib.contextmanager
def system_scope(reason: str, *, using: str = DEFAULT_DB_ALIAS) -> Iterator[None]:
    """Opens the rows of all organisations, for a look-up before the organisation is known.

    ``reason`` says why in a sentence. Raises :class:`ScopeError` inside a tenant scope: a scope never widens.
    """
    if not isinstance(reason, str) or not reason.strip():
        raise ScopeError("system_scope needs its reason, as a sentence.")
    outer = _active.get()
    if outer is not None and outer.key is not None:
        raise ScopeError(f"The scope of organisation {outer.key} is open; a scope never widens.")
    with _opened(_Scope(None, reason), using):
        yield


@contextlib.contextmanager
def maintenance_scope(reason: str, *, using: str = DEFAULT_DB_ALIAS) -> Iterator[None]:
    """A :func:`system_scope` without a transaction, for commands that manage their own, such as
    ``migrate``.
    """
    if _active.get() is not None:
        raise ScopeError("Maintenance starts outside every scope.")
    scope = _Scope(None, reason)
    on_server = connections[using].vendor == "postgresql"
    if on_server:
        _tell_database(scope, using, local=False)
    try:
        with _entered(scope):
            yield
    finally:
        if on_server:
            _tell_database(None, using, local=False)


@contextlib.contextmanager
def _opened(scope: _Scope, using: str) -> Iterator[None]:
    outer = _active.get()
    if connections[using].vendor != "postgresql":
        with _entered(scope):
            yield
        return
    with transaction.atomic(using=using):
        _tell_database(scope, using)
        with _entered(scope):
            yield
        if not connections[using].needs_rollback:
            _tell_database(outer, using)


@contextlib.contextmanager
def _entered(scope: _Scope) -> Iterator[None]:
    token = _active.set(scope)
    try:
        yield
    finally:
        _active.reset(token)


def _tell_database(scope: _Scope | None, using: str, *, local: bool = True) -> None:
    """Sets the two values that the row policies read, until the transaction (or the connection) ends."""
    organization = "" if scope is None or scope.key is None else str(scope.key)
    system = "on" if scope is not None and scope.key is None else "off"
    with connections[using].cursor() as cursor:
        cursor.execute(
            "SELECT set_config('tessera.organization', %s, %s), set_config('tessera.system', %s, %s)",
            [organization, local, system, local],
        )


def _require() -> _Scope:
    scope = _active.get()
    if scope is None:
        raise ScopeError("Rows of an organisation are reached inside tenant_scope(organization) only.")
    return scope


def check_owner(row: models.Model) -> None:
    """Raises :class:`ScopeError` unless ``row`` may be changed in the open scope."""
    key = _require().key
    if key is not None and getattr(row, "organization_id", None) != key:
        raise ScopeError(f"A {type(row).__name__} of another organisation cannot be changed here.")


class _InScope(Exact):
    """``organization_id = n``, bound when the statement is compiled, so that a query set never changes scope.

    The right side is the organisation in whose scope the query set was made, 0 for a system scope.
    """

    def as_sql(self, compiler: Any, connection: Any) -> Any:
        key = _require().key
        made_in = getattr(self.rhs, "value", self.rhs) or None
        if made_in is not None and key != made_in:
            raise ScopeError(f"A query made in the scope of organisation {made_in} was run in another scope.")
        if key is None:
            return "1 = 1", []
        column, params = self.process_lhs(compiler, connection)
        return f"{column} = %s", [*params, key]

    as_oracle = as_sql


class TenantQuerySet(models.QuerySet[M]):
    """The rows of one organisation. Writes are checked; what cannot be checked is refused."""

    def _insert(self, objs: Sequence[M], *args: Any, on_conflict: Any = None, **kwargs: Any) -> Any:
        scope = _require()
        if on_conflict == models.constants.OnConflict.UPDATE:
            raise ScopeError("An insert that updates on conflict could overwrite another organisation's row.")
        for row in objs:
            if row.organization_id is None and scope.key is not None:  # type: ignore[attr-defined]
                row.organization = scope.organization  # type: ignore[attr-defined]
            check_owner(row)
            _check_relations(row)
        _check_references(self.model, objs)
        return super()._insert(objs, *args, on_conflict=on_conflict, **kwargs)  # type: ignore[misc]

    def _update(self, values: Any) -> Any:
        key = _require().key
        references = _references(self.model)
        for field, _, value in values:
            if (
                field.name == "organization"
                and key is not None
                and value not in (key, _active_organization())
            ):
                raise ScopeError("A row never changes its organisation.")
            if field in references:
                _check_present(field, _plain_values(value))
        return super()._update(values)  # type: ignore[misc]

    def update(self, **kwargs: Any) -> int:
        if {"organization", "organization_id"} & kwargs.keys():
            raise ScopeError("A row never changes its organisation.")
        for field in _references(self.model):
            for name in {field.name, field.attname} & kwargs.keys():
                _check_present(field, _plain_values(kwargs[name]))
        return super().update(**kwargs)

    def bulk_update(self, objs: Any, fields: Any, batch_size: int | None = None) -> int:
        rows = list(objs)
        for row in rows:
            check_owner(row)
            _check_relations(row)
        _check_references(self.model, rows)
        return super().bulk_update(rows, fields, batch_size=batch_size)

    def raw(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise ScopeError("Raw SQL cannot be held inside an organisation; write the query with the ORM.")

    def extra(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise ScopeError("Raw SQL cannot be held inside an organisation; write the query with the ORM.")


def _active_organization() -> Organization | None:
    scope = _active.get()
    return None if scope is None else scope.organization


def _check_relations(row: models.Model) -> None:
    """Refuses a row that points at a loaded row of another organisation."""
    fields: Any = row._meta.concrete_fields
    for field in fields:
        if field.is_relation and field.is_cached(row):
            other = field.get_cached_value(row)
            owner = getattr(other, "organization_id", None)
            if owner is not None and owner != row.organization_id:  # type: ignore[attr-defined]
                raise ScopeError(
                    f"{type(row).__name__}.{field.name} points at a row of another organisation."
                )


def _references(model: type[models.Model]) -> list[Any]:
    """The fields of ``model`` that point at rows of an organisation."""
    fields: Any = model._meta.concrete_fields
    return [
        field
        for field in fields
        if field.is_relation and isinstance(field.related_model._default_manager, TenantManager)
    ]


def _check_references(model: type[models.Model], rows: Sequence[Any]) -> None:
    """Refuses ids of rows that were not loaded, where the organisation has no such row."""
    for field in _references(model):
        seen = [row for row in rows if not _is_own(field, row)]
        _check_present(field, {getattr(row, field.attname) for row in seen})


def _is_own(field: Any, row: Any) -> bool:
    """Whether the row pointed at was loaded, and found to be of the same organisation by :func:`_check_relations`."""
    other = field.get_cached_value(row, default=None)
    return other is not None and other.organization_id is not None


def _plain_values(value: Any) -> set[Any]:
    """The ids that ``value`` may become: itself, or those written into an expression. Query sets in it are scoped."""
    if not hasattr(value, "resolve_expression"):
        return {getattr(value, "pk", value)}
    parts = value.flatten() if hasattr(value, "flatten") else ()
    return {getattr(part.value, "pk", part.value) for part in parts if isinstance(part, models.Value)}


def _check_present(field: Any, ids: set[Any]) -> None:
    """A foreign key of the database reaches every row; here one of another organisation is missing like any other.

    Raises ``IntegrityError``, as the database does for an id that nobody has.
    """
    if _require().key is None or field not in _references(field.model):
        return
    wanted = {field.target_field.to_python(each) for each in ids} - {None}
    if wanted and field.related_model._base_manager.filter(pk__in=wanted).count() != len(wanted):
        raise IntegrityError(f"{field.model.__name__}.{field.name} names a row that does not exist.")


class TenantManager(models.Manager[M]):
    """The manager of every tenant table, also its ``_base_manager``. Raises :class:`ScopeError` outside a
    scope.
    """

    def get_queryset(self) -> TenantQuerySet[M]:
        return self._of_the_scope(models.F("organization_id"))

    def among(self, ids: Sequence[Any]) -> TenantQuerySet[M]:
        """The rows of the scope with these primary keys, which the database looks up one by one.

        The scope is the same as of any other query set, but no index can serve it: SQLite, which takes an organisation for ten
        rows, would read all of its rows instead (121 ms instead of 1 at 100,000).
        """
        return self._of_the_scope(models.F("organization_id") + 0).filter(pk__in=ids)

    def _of_the_scope(self, column: Any) -> TenantQuerySet[M]:
        """``column`` is the row's organisation."""
        scope = _require()
        hints: Any = getattr(self, "_hints", None)
        rows: TenantQuerySet[M] = TenantQuerySet(self.model, using=self._db, hints=hints)
        return rows.filter(_InScope(column, scope.key or 0))

    def raw(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise ScopeError("Raw SQL cannot be held inside an organisation; write the query with the ORM.")


def tenant_models() -> list[type[models.Model]]:
    """Every model whose rows belong to one organisation."""
    return [model for model in apps.get_models() if isinstance(model._default_manager, TenantManager)]


@lru_cache(maxsize=1)
def _tenant_tables() -> re.Pattern[str]:
    names = "|".join(re.escape(model._meta.db_table) for model in tenant_models())
    return re.compile(rf"\b(?:{names or '(?!)'})\b", re.IGNORECASE)


_DEFINITION = re.compile(
    r"\s*(?:CREATE|ALTER|DROP|COMMENT|PRAGMA)\b(?!.*\bSELECT\b)", re.IGNORECASE | re.DOTALL
)
"""What shapes tables without reading a row. Any other statement that names a tenant table needs a scope."""


def guard(execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: dict[str, Any]) -> Any:
    """Wraps every statement of a connection: one that touches rows of a tenant table needs a scope."""
    if _active.get() is None:
        text = _text(sql)
        if _tenant_tables().search(text) and not _DEFINITION.match(text):
            raise ScopeError("Rows of an organisation are reached inside tenant_scope(organization) only.")
    return execute(sql, params, many, context)


def _text(sql: Any) -> str:
    """The statement as text; psycopg also takes bytes and objects that it composes itself."""
    if isinstance(sql, bytes):
        return sql.decode("utf-8", "replace")
    return sql if isinstance(sql, str) else str(sql.as_string(None))


def guard_connection(*, connection: Any, **_: Any) -> None:
    """Puts :func:`guard` before all other wrappers of a new connection, once."""
    if guard not in connection.execute_wrappers:
        connection.execute_wrappers.insert(0, guard)
