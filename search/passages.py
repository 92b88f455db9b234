"""From hits to the passages of one answer: merged where they touch, capped per document, widened on their
page.

What always holds: ``source.text == page.text[source.start:source.end]`` for the page of the published version
that the hit named; a passage never leaves its page; the order is the same for the same set of passages, so
that the engine's prefix cache can hit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from search.hits import Hit
from search.models import Page
from search.sentences import sentence_spans
from tenants.models import Organization
from tenants.scope import tenant_scope

PER_DOCUMENT = 4
"""Most passages of one document while other documents also have hits: one file cannot fill the prompt."""
WIDEN_BY = 400
"""Characters taken from the page on either side of a passage, at whole sentences."""

PageKey = tuple[UUID, int]


@dataclass(frozen=True, slots=True)
class Copy:
    """Where a passage, or nearly the same, stands in another document that may be read."""

    document_id: UUID
    version_id: UUID
    title: str
    page: int
    start: int
    end: int
    place: str
    is_paged: bool

    def as_json(self) -> dict[str, str | int | bool]:
        """As citations and sources name it."""
        return {
            "document_id": str(self.document_id),
            "version_id": str(self.version_id),
            "title": self.title,
            "page": self.page,
            "is_paged": self.is_paged,
            "place": self.place,
            "start": self.start,
            "end": self.end,
        }


@dataclass(frozen=True, slots=True)
class Source:
    """A numbered passage of an answer. Offsets are code points of the page's text."""

    n: int
    chunk_id: UUID
    document_id: UUID
    version_id: UUID
    collection: str
    title: str
    page: int
    start: int
    end: int
    text: str
    score: float
    place: str = ""
    """Where a reader finds it in the file, in words (:mod:`search.places`)."""
    is_paged: bool = False
    """Whether a reader of the file sees the number ``page``."""
    counted: bool = False
    """Whether ``place`` tells its rows or items: these are whole by themselves, and it is not widened beyond them."""
    also_in: tuple[Copy, ...] = ()
    """Other documents that say the same, one place of each."""


def choose_sources(hits: Sequence[Hit]) -> list[Source]:
    """The hits, best first, merged where they overlap and capped per document. All have ``n == 0``."""
    several = len({hit.document_id for hit in hits}) > 1
    chosen: list[Source] = []
    for hit in hits:
        source = Source(
            0, hit.chunk_id, hit.document_id, hit.version_id, hit.collection_name, hit.title, hit.page,
            hit.start, hit.end, hit.text, hit.score, hit.place, hit.is_paged, bool(hit.within), tuple(_copy(each) for each in hit.copied_in),
        )  # fmt: skip
        touching = next((i for i, other in enumerate(chosen) if _overlap(source, other)), None)
        if touching is not None:
            chosen[touching] = _merge(chosen[touching], source)
        elif not several or sum(o.document_id == source.document_id for o in chosen) < PER_DOCUMENT:
            chosen.append(source)
    return chosen


def fit(sources: Sequence[Source], *, budget: int, count: Callable[[str], int]) -> list[Source]:
    """As many of the best ``sources`` as fit ``budget`` tokens, the last one cut at a whole sentence."""
    fitted: list[Source] = []
    left = budget
    for source in sources:
        cost = count(source.text)
        if cost > left:
            cut = _cut(source, left, count)
            return [*fitted, cut] if cut is not None else fitted
        fitted.append(source)
        left -= cost
    return fitted


def widen(
    sources: Sequence[Source], pages: Mapping[PageKey, str], *, budget: int, count: Callable[[str], int]
) -> list[Source]:
    """The sources with the sentences around them, the best first, while ``budget`` tokens last."""
    left = budget - sum(count(source.text) for source in sources)
    wide: list[Source] = []
    for source in sources:
        grown = _grown(source, pages.get((source.version_id, source.page), ""), [*wide, *sources])
        extra = count(grown.text) - count(source.text) if grown is not source else 0
        if 0 < extra <= left:
            left -= extra
            wide.append(grown)
        else:
            wide.append(source)
    return wide


def number(sources: Sequence[Source]) -> list[Source]:
    """The sources in their stable order (document, page, offset), numbered from 1."""
    ordered = sorted(sources, key=lambda s: (str(s.document_id), s.page, s.start))
    return [replace(source, n=n) for n, source in enumerate(ordered, 1)]


def load_pages(organization: Organization, keys: Sequence[PageKey]) -> dict[PageKey, str]:
    """The texts of these pages of this organisation; a page that is gone is missing."""
    wanted = set(keys)
    with tenant_scope(organization):
        rows = Page.objects.filter(
            version_id__in={version for version, _ in wanted}, number__in={page for _, page in wanted}
        ).values_list("version_id", "number", "text")
        return {(version, page): text for version, page, text in rows if (version, page) in wanted}


def _copy(hit: Hit) -> Copy:
    return Copy(
        hit.document_id, hit.version_id, hit.title, hit.page, hit.start, hit.end, hit.place, hit.is_paged
    )


def _overlap(a: Source, b: Source) -> bool:
    return a.version_id == b.version_id and a.page == b.page and a.start < b.end and b.start < a.end


def _merge(best: Source, other: Source) -> Source:
    """The union of two overlapping passages under the identity of the better one."""
    start, end = min(best.start, other.start), max(best.end, other.end)
    head = other.text[: best.start - other.start] if other.start < best.start else ""
    tail = other.text[best.end - other.start :] if other.end > best.end else ""
    copies = {copy.document_id: copy for copy in (*other.also_in, *best.also_in)}
    text = head + best.text + tail
    return replace(best, start=start, end=end, text=text, also_in=tuple(copies.values()))


def _cut(source: Source, budget: int, count: Callable[[str], int]) -> Source | None:
    """The longest run of whole sentences from the passage's start that fits, or None."""
    best: Source | None = None
    for _, end in sentence_spans(source.text):
        text = source.text[:end]
        if count(text) > budget:
            break
        best = replace(source, end=source.start + end, text=text)
    return best


def _grown(source: Source, page: str, others: Sequence[Source]) -> Source:
    if source.counted or page[source.start : source.end] != source.text:
        return source
    spans = sentence_spans(page)
    low, high = source.start - WIDEN_BY, source.end + WIDEN_BY
    start = min((s for s, e in spans if s >= low and e > low and s <= source.start), default=source.start)
    end = max((e for s, e in spans if e <= high and e >= source.end), default=source.end)
    grown = replace(source, start=start, end=end, text=page[start:end])
    same = (source.chunk_id,)
    if any(_overlap(grown, other) for other in others if other.chunk_id not in same):
        return source
    return grown
