"""Inside a scope every write goes to the scope's organisation, and a row of another one is out of reach."""

from __future__ import annotations

import uuid

import pytest
from django.db import DatabaseError, IntegrityError, transaction
from django.db.models import Case, Value, When

from search.models import Collection, Conversation, Document, Turn
from tenants.models import Organization
from tenants.scope import ScopeError, current_organization, system_scope, tenant_scope

pytestmark = pytest.mark.django_db


@pytest.fixture
def theirs(acme: Organization) -> Collection:
    with tenant_scope(acme):
        return Collection.objects.create(name="Acme's")


def name_of(row: Collection) -> str:
    with system_scope("a test"):
        return Collection.objects.get(pk=row.pk).name


def test_created_rows_get_the_organisation_of_the_scope(globex: Organization) -> None:
    with tenant_scope(globex):
        assert current_organization() == globex
        created = Collection.objects.create(name="one")
        saved = Collection(name="two")
        saved.save()
        several = Collection.objects.bulk_create([Collection(name="three"), Collection(name="four")])
        got, _ = Collection.objects.get_or_create(name="five")
        related = Conversation.objects.create().turns.create(question="?")
    for row in (created, saved, *several, got, related):
        assert row.organization_id == globex.pk


def test_a_row_of_another_organisation_cannot_be_inserted(acme: Organization, globex: Organization) -> None:
    with tenant_scope(globex):
        for insert in (
            lambda: Collection.objects.create(organization=acme, name="x"),
            lambda: Collection.objects.create(organization_id=acme.pk, name="x"),
            lambda: Collection(organization=acme, name="x").save(),
            lambda: Collection.objects.bulk_create(
                [Collection(name="ok"), Collection(organization=acme, name="x")]
            ),
            lambda: Collection.objects.get_or_create(organization=acme, name="x"),
            lambda: Collection.objects.update_or_create(organization=acme, name="x"),
        ):
            with pytest.raises(ScopeError), transaction.atomic():
                insert()
        assert Collection.objects.count() == 0
    with tenant_scope(acme):
        assert Collection.objects.count() == 0


def test_a_loaded_row_of_another_organisation_cannot_be_changed_or_deleted(
    globex: Organization, theirs: Collection
) -> None:
    theirs.name = "taken"
    with tenant_scope(globex):
        for change in (
            theirs.save,
            theirs.delete,
            lambda: Collection.objects.bulk_update([theirs], ["name"]),
            lambda: theirs.documents.create(title="x", filename="x"),
            lambda: Document.objects.create(collection=theirs, title="x", filename="x"),
        ):
            with pytest.raises(ScopeError), transaction.atomic():
                change()
        borrowed = Collection(pk=theirs.pk, organization=globex)
        assert borrowed.delete()[0] == 0
        with pytest.raises(DatabaseError), transaction.atomic():
            theirs.save(update_fields=["name"])
        with pytest.raises(Collection.DoesNotExist):
            theirs.refresh_from_db()
        assert Collection.objects.filter(pk=theirs.pk).update(name="taken") == 0
        assert Collection.objects.filter(pk=theirs.pk).delete()[0] == 0
        assert Collection.objects.in_bulk([theirs.pk]) == {}
    assert name_of(theirs) == "Acme's"


def test_a_row_never_changes_its_organisation(acme: Organization, globex: Organization) -> None:
    with tenant_scope(globex):
        row = Collection.objects.create(name="ours")
        for change in (
            lambda: Collection.objects.update(organization=acme),
            lambda: Collection.objects.update(organization_id=acme.pk),
            lambda: Collection.objects.update(organization=Value(acme.pk)),
            lambda: Collection.objects.bulk_update([row], ["organization"]),
        ):
            with pytest.raises(ScopeError), transaction.atomic():
                change()  # type: ignore[no-untyped-call]
        row.organization = acme
        with pytest.raises(ScopeError), transaction.atomic():
            row.save()
        row.refresh_from_db()
        assert row.organization == globex


def test_an_insert_cannot_overwrite_by_conflict(globex: Organization, theirs: Collection) -> None:
    with tenant_scope(globex):
        with pytest.raises(ScopeError), transaction.atomic():
            Collection.objects.bulk_create(
                [Collection(pk=theirs.pk, name="taken")],
                update_conflicts=True,
                unique_fields=["id"],
                update_fields=["name"],
            )
        Collection.objects.bulk_create([Collection(pk=theirs.pk, name="taken")], ignore_conflicts=True)
    assert name_of(theirs) == "Acme's"


def test_raw_sql_of_the_orm_is_refused_inside_too(globex: Organization) -> None:
    with tenant_scope(globex):
        for query in (
            lambda: Collection.objects.raw("SELECT * FROM search_collection"),
            lambda: Collection.objects.all().raw("SELECT * FROM search_collection"),
            lambda: Collection.objects.extra(where=["1=1"]),
        ):
            with pytest.raises(ScopeError):
                query()


def test_a_related_manager_shows_only_rows_of_the_scope(acme: Organization, globex: Organization) -> None:
    with tenant_scope(acme):
        conversation = Conversation.objects.create()
        Turn.objects.create(conversation=conversation, question="secret?")
    with tenant_scope(globex):
        assert conversation.turns.count() == 0
        assert not Turn.objects.filter(conversation_id=conversation.pk).exists()
        assert list(Conversation.objects.prefetch_related("turns")) == []


def test_an_id_of_another_organisations_row_is_missing_like_any_other(
    globex: Organization, theirs: Collection
) -> None:
    """Foreign keys of the database reach every row, also past row-level security."""
    with tenant_scope(globex):
        ours = Collection.objects.create(name="ours")
        document = Document.objects.create(collection_id=ours.pk, title="x", filename="x")
        for wrong in (theirs.pk, uuid.uuid4()):
            unloaded = Collection(pk=wrong)
            for point in (
                lambda wrong=wrong: Document.objects.create(collection_id=wrong, title="x", filename="x"),
                lambda other=unloaded: Document.objects.create(collection=other, title="x", filename="x"),
                lambda wrong=wrong: Document.objects.bulk_create(
                    [Document(collection_id=each, title="x", filename="x") for each in (ours.pk, wrong)]
                ),
                lambda wrong=wrong: Document.objects.update(collection_id=wrong),
                lambda wrong=wrong: Document.objects.update(collection=str(wrong)),
                lambda other=unloaded: Document.objects.update(collection=other),
                lambda wrong=wrong: Document.objects.update(collection_id=Value(wrong)),
                lambda wrong=wrong: Document.objects.update(
                    collection=Case(When(pk=document.pk, then=Value(wrong)), default=Value(ours.pk))
                ),
                lambda wrong=wrong: saved_with(document, wrong),
                lambda wrong=wrong: Document.objects.bulk_update(
                    [Document(pk=document.pk, organization=globex, collection_id=wrong)], ["collection"]
                ),
            ):
                with pytest.raises(IntegrityError), transaction.atomic():
                    point()
        assert list(Document.objects.values_list("collection", flat=True)) == [ours.pk]
        document.collection_id = ours.pk
        document.save()


def saved_with(document: Document, collection: uuid.UUID) -> None:
    document.collection_id = collection
    document.save()
