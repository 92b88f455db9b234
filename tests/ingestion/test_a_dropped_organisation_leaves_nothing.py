"""Every store is looked at after an organisation was deleted: nothing names it, and nothing of another is missing."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import connections

from search import corpus, maintenance, streams
from search.corpus import index_version, unindex_version
from search.index import IndexFailure, close_all
from search.index.lock import IndexLock
from search.index.opening import keys_present
from search.models import Chunk, MaintenanceJob
from search.streams import MemoryStreams, RunKey
from tenants import lifecycle
from tenants.lifecycle import delete_organization
from tenants.models import Organization
from tenants.scope import system_scope, tenant_models, tenant_scope
from tests.isolation.world import World, build
from tests.search.corpus_rows import EMBEDDER

KEPT_OF_OTHERS = "canary-two"


@pytest.fixture
def worlds(
    settings: Any, tmp_path: Path, acme: Organization, alice: Any, globex: Organization, charlie: Any
) -> tuple[World, World]:
    settings.STORAGES = {
        **settings.STORAGES,
        "default": {
            "BACKEND": "django.core.files.storage.FileSystemStorage",
            "OPTIONS": {"location": tmp_path / "files"},
        },
    }
    both = build(acme, alice, "canary-one"), build(globex, charlie, KEPT_OF_OTHERS)
    streams.install(MemoryStreams())
    for world in both:
        key = world.organization.pk
        unit = EMBEDDER.embed_query(world.canary).astype("<f2").tobytes()
        with tenant_scope(world.organization):
            Chunk.objects.filter(id=world.chunk.pk).update(embedding=unit)
        index_version(world.organization, world.version.pk)
        default_storage.save(f"{key}/named-by-no-row", ContentFile(b"%PDF-"))
        pictures = tmp_path / "pages" / str(key) / str(world.version.pk)
        pictures.mkdir(parents=True)
        (pictures / "1.png").write_bytes(b"PNG")
        streams.store().open(RunKey(key, world.version.pk)).publish(("answer.delta", {"text": world.canary}))
        MaintenanceJob.objects.create(
            act="reindex",
            arguments={"organization": None},
            output=f"{world.organization.slug}: 1",
            exit_status=0,
            status=MaintenanceJob.Status.DONE,
        )
    return both


def left(home: Path, organization: Organization) -> list[str]:
    """Where anything of it is."""
    key = str(organization.pk)
    found = [str(p.relative_to(home)) for p in home.rglob("*") if key in p.relative_to(home).parts]
    with system_scope("a test looks at all that is left"):
        for model in tenant_models():
            rows = model._default_manager.all()
            if any(row.organization_id == organization.pk for row in rows):  # type: ignore[attr-defined]
                found.append(model._meta.label)
    for model in apps.get_models():
        fields = {field.name for field in model._meta.concrete_fields}
        if "organization" not in fields or model in tenant_models():
            continue
        if model._default_manager.filter(organization_id=organization.pk).exists():
            found.append(model._meta.label)
    if MaintenanceJob.objects.filter(output__contains=organization.slug).exists():
        found.append("maintenance jobs")
    store = streams.store()
    assert isinstance(store, MemoryStreams)
    if any(run.organization_id == organization.pk for run in store._streams):
        found.append("events")
    return found


@pytest.mark.django_db
def test_no_store_has_anything_of_it(worlds: tuple[World, World], tmp_path: Path) -> None:
    acme, globex = (world.organization for world in worlds)
    kept = left(tmp_path, globex)
    assert {part.split("/")[0] for part in kept} >= {
        *("index", "files", "pages", "events", "maintenance jobs"),
        *("search.Chunk", "search.Document", "tenants.ApiKey", "tenants.Membership"),
    }
    assert {part.split("/")[0] for part in left(tmp_path, acme)} == {part.split("/")[0] for part in kept}
    gone = Organization(pk=acme.pk, slug=acme.slug)
    delete_organization(acme)
    assert left(tmp_path, gone) == []
    assert left(tmp_path, globex) == kept


@pytest.mark.django_db(transaction=True)
def test_the_running_product_is_asked_where_it_holds_the_index(
    worlds: tuple[World, World], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maintenance, "LOOK_SECONDS", 0.02)
    close_all()
    product = IndexLock(tmp_path / "index" / "lock")
    product.acquire()
    asked: list[dict[str, Any]] = []

    def forget(arguments: dict[str, Any], write: maintenance.Write) -> int:
        asked.append(arguments)
        return 0

    monkeypatch.setitem(maintenance._acts, "forget_organization", forget)
    monkeypatch.setitem(maintenance._acts, "forget_index", forget)
    key = worlds[0].organization.pk

    def work() -> None:
        try:
            while len(asked) < 2:
                maintenance.work_on_next()
        finally:
            connections.close_all()

    thread = threading.Thread(target=work)
    monkeypatch.setattr("search.corpus.forget_here", _refused)
    monkeypatch.setattr("search.corpus.forget_index_here", _refused)
    thread.start()
    delete_organization(worlds[0].organization)
    thread.join()
    product.release()
    assert asked == [{"organization": "acme"}, {"key": key}]
    assert not Organization.objects.filter(slug="acme").exists()


@pytest.mark.django_db
def test_a_worker_that_holds_a_job_of_it_brings_no_index_back(
    worlds: tuple[World, World], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = worlds[0]
    gone = Organization(pk=world.organization.pk, slug="acme")
    read = corpus.batches_of_points

    def meanwhile(*args: Any, **named: Any) -> Any:
        for points in read(*args, **named):
            delete_organization(Organization.objects.get(slug="acme"))
            yield points

    monkeypatch.setattr(corpus, "batches_of_points", meanwhile)
    assert index_version(gone, world.version.pk) == 0
    assert left(tmp_path, gone) == []
    unindex_version(gone, world.version.pk)
    assert keys_present() == {worlds[1].organization.pk}


@pytest.mark.django_db
def test_points_that_come_before_the_rows_go_leave_with_them(
    worlds: tuple[World, World], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = worlds[0]
    gone = Organization(pk=world.organization.pk, slug="acme")
    monkeypatch.setattr(
        lifecycle, "_parts", [*lifecycle._parts, lambda acme: index_version(acme, world.version.pk)]
    )
    delete_organization(world.organization)
    assert left(tmp_path, gone) == []


@pytest.mark.django_db
def test_rows_stay_while_the_index_could_not_be_dropped(
    worlds: tuple[World, World], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.corpus.forget_here", _refused)
    monkeypatch.setitem(maintenance._acts, "forget_organization", lambda arguments, write: 1)
    with pytest.raises(IndexFailure, match="acme"):
        delete_organization(worlds[0].organization)
    assert Organization.objects.filter(slug="acme").exists()


def _refused(arguments: dict[str, Any], write: maintenance.Write) -> int:
    from search.index.errors import IndexLocked

    raise IndexLocked("The index is in use by process 1, which runs the product.")
