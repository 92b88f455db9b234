"""Case T06: the index is reached through one organisation only, and no method could name another."""

from __future__ import annotations

import inspect
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.index import opening
from search.index.base import IndexFilter, Point, VectorIndex
from search.index.edge import EdgeIndex
from search.index.embedded import EmbeddedIndex
from search.index.lock import IndexLock
from search.index.server import ServerIndex
from tenants.models import Organization
from tests.index.points import DIMENSION, EVERYTHING, point, unit

NAMES_A_TENANT = (
    "collection_name",
    "name",
    "shard",
    "tenant",
    "organization",
    "organisation",
    "key",
    "path",
    "index",
)


def public_methods(kind: type) -> dict[str, Any]:
    return {n: m for n, m in inspect.getmembers(kind, inspect.isfunction) if not n.startswith("_")}


@pytest.mark.parametrize("kind", [VectorIndex, EdgeIndex, EmbeddedIndex, ServerIndex])
def test_no_method_takes_a_tenant_or_a_collection_name(kind: type) -> None:
    methods = public_methods(kind)
    assert methods.keys() >= {
        "ensure",
        "upsert",
        "delete",
        "delete_document",
        "query",
        "ids",
        "vectors",
        "drop",
    }
    for name, method in methods.items():
        parameters = list(inspect.signature(method).parameters.values())[1:]
        for parameter in parameters:
            assert not any(word in parameter.name for word in NAMES_A_TENANT), f"{name}({parameter.name})"
            assert parameter.annotation != "str" or parameter.name in ("text", "earlier", "act"), (
                f"{name}({parameter.name})"
            )
            assert parameter.kind is not inspect.Parameter.VAR_KEYWORD, name


def test_both_kinds_offer_the_whole_protocol_with_the_same_parameters() -> None:
    for name, method in public_methods(VectorIndex).items():
        for kind in (EdgeIndex, EmbeddedIndex, ServerIndex):
            offered = inspect.signature(public_methods(kind)[name])
            assert offered.parameters.keys() == inspect.signature(method).parameters.keys(), (kind, name)


@pytest.mark.parametrize("nobody", [None, "acme", 1, Organization(slug="unsaved"), object()])
def test_opening_without_a_saved_organisation_raises_before_anything_is_touched(
    nobody: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def touched(*args: Any) -> None:
        raise AssertionError("storage was touched")

    for door in ("_held_lock", "_connected", "_home"):
        monkeypatch.setattr(opening, door, touched)
    for act in (
        opening.open_index,
        opening.drop_index,
        lambda o: opening.build_index(o, average_length=100.0).__enter__(),
    ):
        with pytest.raises(TypeError, match="one saved organisation"):
            act(nobody)


def test_an_organisation_always_gets_its_own_index_and_none_after_the_end(
    acme: Organization, globex: Organization
) -> None:
    mine = opening.open_index(acme)
    mine.upsert([wide_point()])
    assert opening.open_index(acme).count() == 1
    assert opening.open_index(globex).count() == 0
    assert opening.keys_present() == {acme.pk, globex.pk}
    opening.close_all()
    with pytest.raises(Exception, match="closed"):
        mine.count()
    assert opening.open_index(acme).count() == 1
    opening.drop_index(acme)
    assert opening.keys_present() == {globex.pk}


def wide_point() -> Point:
    """A point of the product's dimension."""
    dense = np.zeros(384, dtype=np.float32)
    dense[0] = 1
    return point(1, "pump", dense=dense)


SEEDS = st.integers(0, 12)
ACTS = st.one_of(
    st.tuples(st.just("upsert"), SEEDS),
    st.tuples(st.just("delete"), SEEDS),
    st.tuples(st.just("delete_document"), SEEDS),
    st.tuples(st.just("delete_version"), SEEDS),
    st.tuples(st.just("query"), SEEDS),
    st.tuples(st.just("vectors"), SEEDS),
)


def perform(index: EdgeIndex, act: str, seed: int) -> set[uuid.UUID]:
    """Does one thing and returns every id that was seen."""
    p: Point = point(seed, "pump")
    match act:
        case "upsert":
            index.upsert([p])
        case "delete":
            index.delete([p.id])
        case "delete_document":
            index.delete_document(p.document_id)
        case "delete_version":
            index.delete_version(p.version_id)
        case "query":
            only = IndexFilter(collection_ids=EVERYTHING.collection_ids, document_ids=(p.document_id,))
            found = index.query(text="pump", dense=unit(seed), filter=EVERYTHING, limit=50)
            found += index.query(text="pump", dense=unit(seed), filter=only, limit=50)
            return {match.id for match in found}
        case "vectors":
            return set(index.vectors([p.id]))
    return index.ids()


@settings(max_examples=10, deadline=None)
@given(acts=st.lists(ACTS, max_size=12))
def test_whatever_globex_does_acme_keeps_its_points_and_globex_sees_none(
    acts: list[tuple[str, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    home: Path = tmp_path_factory.mktemp("index")
    lock = IndexLock(home / "lock")
    lock.acquire()
    acme, globex = (EdgeIndex(home / name, lock=lock, dimension=DIMENSION) for name in ("1", "2"))
    ours = {point(seed).id for seed in range(6)}
    acme.upsert([point(seed, "pump") for seed in range(6)])
    written: set[uuid.UUID] = set()
    for act, seed in acts:
        if act == "upsert":
            written.add(point(seed).id)
        assert perform(globex, act, seed) <= written
    assert acme.ids() == ours
    acme.close()
    globex.close()
    lock.release()
