"""An index whose mean length drifted, or that has much outside its graph, is queued to be made anew."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest
from django.conf import settings
from django.utils import timezone

from search import maintenance, rebuilding, reindex
from search.index import IndexState, open_index
from search.index.opening import keys_with_less
from search.index.saved import META
from search.models import MaintenanceJob
from search.rebuilding import Watch, reason_to_rebuild
from tenants.models import Organization
from tests.search.corpus_rows import document

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rebuilding, "FEW_PASSAGES", 3)


def test_a_mean_that_drifted_is_counted_anew_in_the_background(acme: Organization) -> None:
    document(acme, "Short", [f"impeller {n}" for n in range(5)])
    assert "terms on average" in (reason_to_rebuild(acme) or "")
    assert Watch().look() == ["acme"]
    assert maintenance.work_on_next()
    assert MaintenanceJob.objects.get().output == "acme: 5 passages"
    assert open_index(acme).state().average_length == pytest.approx(5, abs=1)
    assert reason_to_rebuild(acme) is None
    document(acme, "Longer", ["valve " * 9 for _ in range(5)])
    assert "terms on average" in (reason_to_rebuild(acme) or "")


def test_a_mean_within_a_fifth_stays(acme: Organization) -> None:
    document(acme, "A", ["impeller " * 20 for _ in range(5)])
    reindex.reindex(acme)
    document(acme, "B", ["impeller " * 25 for _ in range(5)])
    assert reason_to_rebuild(acme) is None


@pytest.mark.parametrize(
    ("points", "outside", "worn"),
    [(249_999, 249_999, False), (250_000, 250_000, True), (400_000, 79_999, False), (400_000, 80_000, True)],
)
def test_many_passages_outside_the_graph_are_a_reason(
    acme: Organization, monkeypatch: pytest.MonkeyPatch, points: int, outside: int, worn: bool
) -> None:
    class Index:
        def state(self) -> IndexState:
            return IndexState(points=points, outside_graph=outside, average_length=120.0)

    monkeypatch.setattr(rebuilding, "open_index", lambda organization: Index())
    monkeypatch.setattr(rebuilding, "sampled_length", lambda organization: 120.0)
    assert (reason_to_rebuild(acme) is not None) == worn


def test_only_organisations_whose_documents_changed_are_looked_at(
    acme: Organization, globex: Organization
) -> None:
    now = [timezone.now()]
    watch = Watch(clock=lambda: now[0])
    document(acme, "A", [f"impeller {n}" for n in range(5)])
    assert watch.look() == ["acme"]
    now[0] += timedelta(minutes=5)
    document(globex, "B", [f"impeller {n}" for n in range(5)])
    assert watch.look() == []
    now[0] += timedelta(minutes=6)
    assert "globex" in watch.look()
    now[0] += timedelta(days=2)
    assert watch.look() == []


def test_an_index_of_an_earlier_version_is_made_anew_when_the_product_starts(
    acme: Organization, globex: Organization
) -> None:
    document(acme, "A", ["impeller one"], author="Ada")
    document(globex, "B", ["impeller two"])
    for organization in (acme, globex):
        open_index(organization).close()
    saved = Path(settings.VAR) / "index" / str(acme.pk) / META
    of_before = json.loads(saved.read_text())
    del of_before["payload"]
    saved.write_text(json.dumps(of_before))
    assert keys_with_less() == {acme.pk}
    now = [timezone.now() + timedelta(days=30)]
    watch = Watch(clock=lambda: now[0])
    assert watch.look() == ["acme"]
    assert maintenance.work_on_next()
    assert keys_with_less() == set()
    assert open_index(acme).count() == 1
    now[0] += timedelta(hours=1)
    assert watch.look() == []
