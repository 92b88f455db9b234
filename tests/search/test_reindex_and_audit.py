"""The audit names every difference of index and rows; a reindex mends them without embedding anything."""

from __future__ import annotations

from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from search import reindex
from search.corpus import batches_of_points
from search.index import close_all, open_index
from search.index.lock import IndexLock
from search.models import Chunk
from tenants.models import Organization
from tenants.scope import tenant_scope
from tests.search.corpus_rows import EMBEDDER, document


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


def test_a_reindex_embeds_nothing_and_leaves_drafts_out(
    acme: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    document(acme, "A", ["impeller " * 40, "valve " * 40])
    document(acme, "Draft", ["draft"], publish=False)
    before = reindex.audit(acme)
    progress: list[int] = []

    def refuse() -> None:
        raise AssertionError("a model was asked for")

    monkeypatch.setattr("inference.runtime.current", refuse)
    assert reindex.reindex(acme, on_batch=progress.append) == 2
    after = reindex.audit(acme)
    assert progress == [2]
    assert (after.rows, after.points, after.unpublished) == (before.rows, 2, ())


def test_the_commands_say_what_they_found_and_fail_on_a_difference(acme: Organization) -> None:
    document(acme, "A", ["impeller one", "impeller two"])
    assert run("audit_index") == "acme: 2 points, 2 passages, equal\n"
    with tenant_scope(acme):
        first = Chunk.objects.order_by("ordinal")[0].id
    open_index(acme).delete([first])
    close_all()
    out = StringIO()
    with pytest.raises(CommandError, match=r"manage\.py reindex"):
        call_command("audit_index", stdout=out)
    assert f"missing, a passage without a point: {first}" in out.getvalue()
    assert run("reindex", organization="acme") == "acme: 2 passages\n"
    assert "equal" in run("audit_index", organization="acme")


def test_an_index_without_its_organisation_is_a_leak(acme: Organization, settings: Any) -> None:
    document(acme, "A", ["impeller"])
    (Path(settings.VAR) / "index" / "987654").mkdir(parents=True)
    out = StringIO()
    with pytest.raises(CommandError):
        call_command("audit_index", stdout=out)
    assert "LEAK: an index of organisation 987654" in out.getvalue()


@pytest.mark.parametrize("command", ["reindex", "audit_index"])
def test_while_the_product_runs_a_command_says_what_to_do(
    acme: Organization, settings: Any, command: str
) -> None:
    product = IndexLock(Path(settings.VAR) / "index" / "lock")
    product.acquire()
    try:
        with pytest.raises(CommandError, match=r"in use by process \d+.*Stop the running product"):
            call_command(command)
    finally:
        product.release()


def test_an_unknown_organisation_is_named(acme: Organization) -> None:
    with pytest.raises(CommandError, match="'nobody'"):
        run("reindex", organization="nobody")
