"""Which indexes should be made anew, looked for while the product runs.

Two things wear an index: its BM25 weights carry the mean passage length of the day when it was made, and passages that
came after its graph are looked at one by one. One made by an earlier version of the product may lack what filters read now. All are
mended by one act, :func:`search.reindex.reindex`.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import datetime, timedelta

from django.utils import timezone

from search import maintenance
from search.corpus import points_for
from search.index import IndexState, open_index
from search.index.opening import keys_with_less
from search.index.sparse import average_length
from search.models import Chunk, Document
from search.reindex import GRAPH_FROM
from tenants.models import Organization
from tenants.scope import tenant_scope

LOOK_EVERY = timedelta(minutes=10)
FIRST_LOOK_BACK = timedelta(days=1)
MOST_DRIFT = 0.2
"""How far the mean passage length may be from the one that the weights were made with."""
FEW_PASSAGES = 500
"""Below, weights that are a little off change no order that anybody would notice."""
SAMPLE = 500
SHARE_OUTSIDE = 0.2
"""Passages outside the graph are looked at one by one; making a graph costs as much as the index is large."""


class Watch:
    """Queues a ``reindex`` for each organisation that needs one. Looks at those whose documents changed, and at first at
    what all indexes were made with."""

    def __init__(self, clock: Callable[[], datetime] = timezone.now) -> None:
        self._clock = clock
        self._looked_at: datetime | None = None

    def look(self) -> list[str]:
        """The slugs of those that were queued; looks every ten minutes, and else does nothing."""
        now = self._clock()
        if self._looked_at is not None and now - self._looked_at < LOOK_EVERY:
            return []
        since = (self._looked_at or now - FIRST_LOOK_BACK) - timedelta(minutes=1)
        lacking = (
            keys_with_less() if self._looked_at is None else set()
        )  # of an earlier version of the product
        self._looked_at = now
        worn = [o.slug for o in Organization.objects.filter(pk__in=lacking, is_active=True).order_by("pk")]
        worn += [o.slug for o in _changed(since) if o.pk not in lacking and reason_to_rebuild(o) is not None]
        for slug in worn:
            maintenance.queue("reindex", {"organization": slug})
        return worn


def reason_to_rebuild(organization: Organization) -> str | None:
    """Why the index should be made anew, in a sentence, or None."""
    state = open_index(organization).state()
    if state.points >= GRAPH_FROM and state.outside_graph >= SHARE_OUTSIDE * state.points:
        return f"{state.outside_graph} passages are outside the graph."
    if state.points >= FEW_PASSAGES:
        mean = sampled_length(organization)
        if _has_drifted(state, mean):
            return f"Passages have {mean:.0f} terms on average, and the weights assume {state.average_length:.0f}."
    return None


def sampled_length(organization: Organization) -> float:
    """The mean length of 500 passages in terms. Their ids are hashes, so a run of them is a fair sample."""
    with tenant_scope(organization):
        rows = Chunk.objects.filter(version__published_for__isnull=False).select_related("version__document")
        chunks = list(rows.filter(id__gte=uuid.uuid4()).order_by("id")[:SAMPLE])
        if len(chunks) < SAMPLE:
            chunks += list(rows.order_by("id")[: SAMPLE - len(chunks)])
    return average_length(point.text for point in points_for(chunks))


def _has_drifted(state: IndexState, mean: float) -> bool:
    return abs(mean / state.average_length - 1) > MOST_DRIFT


def _changed(since: datetime) -> list[Organization]:
    found = []
    for organization in Organization.objects.filter(is_active=True).order_by("pk"):
        with tenant_scope(organization):
            if Document.objects.filter(updated_at__gte=since).exists():
                found.append(organization)
    return found
