"""Every path of the ORM to a tenant table raises outside a scope; none of them reaches the database."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.db import connection, transaction
from django.db.models import Count, prefetch_related_objects
from psycopg.sql import SQL

from search.models import Collection, Document, Page
from tenants.models import Organization
from tenants.scope import ScopeError, current_organization, system_scope, tenant_scope

pytestmark = pytest.mark.django_db

PATHS: dict[str, Callable[[Collection], object]] = {
    "all": lambda c: list(Collection.objects.all()),
    "filter": lambda c: list(Collection.objects.filter(name="General")),
    "get": lambda c: Collection.objects.get(pk=c.pk),
    "first": lambda c: Collection.objects.first(),
    "exists": lambda c: Collection.objects.exists(),
    "explain": lambda c: Collection.objects.all().explain(),
    "count": lambda c: Collection.objects.count(),
    "aggregate": lambda c: Collection.objects.aggregate(n=Count("pk")),
    "annotate": lambda c: list(Collection.objects.annotate(n=Count("documents"))),
    "values": lambda c: list(Collection.objects.values_list("name")),
    "iterator": lambda c: list(Collection.objects.iterator()),
    "in_bulk": lambda c: Collection.objects.in_bulk([c.pk]),
    "none": lambda c: list(Collection.objects.none()),
    "create": lambda c: Collection.objects.create(organization=c.organization, name="x"),
    "get_or_create": lambda c: Collection.objects.get_or_create(organization=c.organization, name="x"),
    "update_or_create": lambda c: Collection.objects.update_or_create(
        organization=c.organization, name="General", defaults={"name": "x"}
    ),
    "bulk_create": lambda c: Collection.objects.bulk_create(
        [Collection(organization=c.organization, name="x")]
    ),
    "bulk_update": lambda c: Collection.objects.bulk_update([c], ["name"]),
    "update": lambda c: Collection.objects.update(name="x"),
    "delete": lambda c: Collection.objects.all().delete(),
    "raw": lambda c: list(Collection.objects.raw("SELECT * FROM search_collection")),
    "save": lambda c: c.save(),
    "save a new row": lambda c: Collection(organization=c.organization, name="x").save(),
    "save of some fields": lambda c: c.save(update_fields=["name"]),
    "delete of a row": lambda c: c.delete(),
    "delete of a leaf": lambda c: Page(pk=1, organization=c.organization).delete(),
    "refresh_from_db": lambda c: c.refresh_from_db(),
    "related manager": lambda c: list(c.documents.all()),
    "related create": lambda c: c.documents.create(title="x"),
    "forward key": lambda c: Document(organization=c.organization, collection_id=c.pk).collection,
    "prefetch": lambda c: prefetch_related_objects([c], "documents"),
    "_base_manager": lambda c: list(Collection._base_manager.all()),
    "_default_manager": lambda c: list(Collection._default_manager.using("default")),
    "organisation's delete": lambda c: c.organization.delete(),
    "full_clean": lambda c: Collection(organization=c.organization, name="General").full_clean(),
    "raw SQL": lambda c: connection.cursor().execute("SELECT name FROM search_collection"),
    "raw SQL in a subquery": lambda c: connection.cursor().execute(
        "WITH x AS (SELECT 1 FROM search_collection) SELECT 1"
    ),
    "raw delete": lambda c: connection.cursor().execute('DELETE FROM "search_collection"'),
    "raw SQL in capitals": lambda c: connection.cursor().execute("SELECT name FROM SEARCH_COLLECTION"),
    "raw SQL behind a comment": lambda c: connection.cursor().execute(
        "/* why */ SELECT name FROM search_collection"
    ),
    "raw SQL behind a line of comment": lambda c: connection.cursor().execute(
        "-- why\nSELECT name FROM search_collection"
    ),
    "a copy of the table": lambda c: connection.cursor().execute(
        "CREATE TABLE leak AS SELECT * FROM search_collection"
    ),
    "a view of the table": lambda c: connection.cursor().execute(
        "CREATE VIEW leak AS\nSELECT * FROM search_collection"
    ),
    "composed SQL": lambda c: connection.cursor().execute(SQL("SELECT name FROM search_collection")),
    "current organisation": lambda c: current_organization(),
}


@pytest.fixture
def general(acme: Organization) -> Collection:
    with tenant_scope(acme):
        return Collection.objects.create(name="General")


@pytest.mark.parametrize("path", PATHS)
def test_it_raises_outside_a_scope(path: str, general: Collection) -> None:
    with pytest.raises(ScopeError), transaction.atomic():
        PATHS[path](general)
    with tenant_scope(general.organization):
        assert Collection.objects.get().name == "General"


def test_a_query_set_made_inside_cannot_be_evaluated_after_the_scope(
    acme: Organization, general: Collection
) -> None:
    with tenant_scope(acme):
        rows = Collection.objects.filter(name__startswith="G")
        assert rows.exists()
    for evaluate in (
        list,
        lambda r: r.count(),
        lambda r: r.exists(),
        lambda r: r.delete(),
        lambda r: r.explain(),
    ):
        with pytest.raises(ScopeError):
            evaluate(rows.all())


def test_a_query_set_of_one_organisation_cannot_be_evaluated_in_the_scope_of_another(
    acme: Organization, globex: Organization, general: Collection
) -> None:
    with tenant_scope(acme):
        rows = Collection.objects.all()
        within = Document.objects.filter(collection__in=Collection.objects.all())
    with tenant_scope(globex):
        for query in (rows, within):
            with pytest.raises(ScopeError):
                list(query)
    with system_scope("a test"), pytest.raises(ScopeError):
        list(rows)


def test_a_query_set_of_the_system_is_narrowed_when_an_organisation_evaluates_it(
    globex: Organization, general: Collection
) -> None:
    with system_scope("a test"):
        rows = Collection.objects.all()
        assert rows.count() == 1
    with tenant_scope(globex):
        assert rows.count() == 0
        assert list(rows.all()) == []
