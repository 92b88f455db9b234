"""The audit names every difference of index and rows; a reindex mends them without embedding anything."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from search import reindex
from search.corpus import batches_of_points, remove_document, unindex_version
from search.index import IndexFilter, close_all, open_index
from search.index.errors import IndexMismatch
from search.models import Chunk, Document, DocumentVersion
from search.retrieval import readable_collections
from tenants.models import Organization
from tenants.scope import tenant_scope
from tests.search.corpus_rows import EMBEDDER, add_version, document


def run(command: str, **options: Any) -> str:
    out = StringIO()
    call_command(command, stdout=out, **options)
    return out.getvalue()


def test_an_index_that_was_filled_from_rows_is_clean(acme: Organization) -> None:
    document(acme, "A", [f"impeller {n}" for n in range(300)])
    document(acme, "Draft", ["impeller draft"], publish=False)
    found = reindex.audit(acme)
    assert found.clean
    assert (found.points, found.rows, len(found.unpublished)) == (301, 300, 1)


def test_the_audit_names_what_is_missing_changed_and_leaked(acme: Organization, globex: Organization) -> None:
    document(acme, "A", ["impeller one", "impeller two", "impeller three"])
    document(globex, "Theirs", ["canary"])
    with tenant_scope(acme):
        one, two, three = Chunk.objects.order_by("ordinal")
        other = EMBEDDER.embed_query("something else").astype("<f2").tobytes()
        Chunk.objects.filter(id=two.id).update(embedding=other)
    index = open_index(acme)
    index.delete([one.id])
    leaked = [point for points in batches_of_points(globex) for point in points]
    index.upsert(leaked)
    found = reindex.audit(acme)
    assert not found.clean
    assert (found.missing, found.changed, found.leaked) == ((one.id,), (two.id,), (leaked[0].id,))
    assert three.id not in {*found.missing, *found.changed}

    assert reindex.reindex(acme) == 3
    assert reindex.audit(acme).clean
    assert reindex.audit(globex).clean


def test_a_reindex_embeds_nothing_and_keeps_what_is_on_its_way(
    acme: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    document(acme, "A", ["impeller " * 40, "valve " * 40])
    document(acme, "Draft", ["draft"], publish=False)
    before = reindex.audit(acme)
    progress: list[int] = []

    def refuse() -> None:
        raise AssertionError("a model was asked for")

    monkeypatch.setattr("inference.runtime.current", refuse)
    assert reindex.reindex(acme, on_batch=progress.append) == 3
    after = reindex.audit(acme)
    assert progress == [2]
    assert after == before
    assert (after.rows, len(after.unpublished)) == (2, 1)


def test_a_reindex_says_how_many_passages_it_wrote(acme: Organization) -> None:
    document(acme, "A", ["impeller one", "impeller two"])
    assert run("reindex", organization="acme") == "acme: 2 passages\n"


def test_an_unknown_organisation_is_named(acme: Organization) -> None:
    with pytest.raises(CommandError, match="'nobody'"):
        run("reindex", organization="nobody")


def test_questions_are_answered_and_changes_kept_while_an_index_is_made_anew(
    acme: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Right before the switch and right after it a document comes, one goes and one is replaced."""
    document(acme, "Stays", ["impeller stays"])
    gone = [document(acme, f"Goes {n}", ["impeller goes"]) for n in range(2)]
    replaced = [document(acme, f"Changes {n}", ["impeller before"]) for n in range(2)]
    turns: list[int] = []

    def happen(turn: int) -> None:
        turns.append(turn)
        assert found(acme) >= 3
        document(acme, f"Comes {turn}", ["impeller comes"])
        remove_document(acme, gone[turn].id)
        with tenant_scope(acme):
            old = DocumentVersion.objects.get(document=replaced[turn])
        add_version(acme, replaced[turn], ["impeller after"])
        with tenant_scope(acme):
            Document.objects.filter(id=replaced[turn].id).update(updated_at=timezone.now())
        unindex_version(acme, old.id)
        with tenant_scope(acme):
            old.delete()

    plain = reindex._catch_up

    def catch_up(*args: Any, **named: Any) -> None:
        turn = len(turns)
        if turn == 1:
            happen(1)  # after the switch
        plain(*args, **named)
        if turn == 0:
            happen(0)  # before it

    monkeypatch.setattr(reindex, "_catch_up", catch_up)
    reindex.reindex(acme)
    assert turns == [0, 1]
    result = reindex.audit(acme)
    assert result.clean
    assert (result.points, result.rows) == (5, 5)
    assert result.unpublished == ()
    assert found(acme) == 5


def test_a_build_that_fails_leaves_the_index_in_use_as_it_was(
    acme: Organization, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    document(acme, "A", ["impeller one", "impeller two"])

    def fail(*args: Any, **named: Any) -> None:
        raise OSError("the disk is full")

    with monkeypatch.context() as broken:
        broken.setattr(reindex, "_catch_up", fail)
        with pytest.raises(OSError, match="full"):
            reindex.reindex(acme)
    assert reindex.audit(acme).clean
    assert list((Path(settings.VAR) / "index" / "building").iterdir()) == []


def test_an_index_beyond_reading_is_made_anew(acme: Organization, settings: Any) -> None:
    document(acme, "A", ["impeller one", "impeller two"])
    close_all()
    saved = Path(settings.VAR) / "index" / str(acme.pk) / "tessera.json"
    saved.write_text(saved.read_text().replace('"layout": 1', '"layout": 0'))
    with pytest.raises(IndexMismatch):
        found(acme)
    assert reindex.reindex(acme) == 2
    assert found(acme) == 2
    assert [f.name for f in saved.parent.iterdir() if f.is_dir()] == [json.loads(saved.read_text())["shard"]]


@pytest.mark.parametrize("broken", ["", "{", "[]", "null", '{"layout": 1}', "\xff"])
def test_an_index_whose_description_is_broken_says_so_and_is_made_anew(
    acme: Organization, settings: Any, broken: str
) -> None:
    document(acme, "A", ["impeller one", "impeller two"])
    close_all()
    saved = Path(settings.VAR) / "index" / str(acme.pk) / "tessera.json"
    saved.write_bytes(broken.encode("latin-1"))
    with pytest.raises(IndexMismatch):
        found(acme)
    assert run("reindex", organization="acme") == "acme: 2 passages\n"
    assert found(acme) == 2


def found(organization: Organization) -> int:
    """How many passages a question for what they all have finds in the index."""
    (readable,) = readable_collections(organization)
    index, dense = open_index(organization), EMBEDDER.embed_query("impeller")
    return len(index.query(text="impeller", dense=dense, filter=IndexFilter((readable,)), limit=50))
