"""Two documents that say otherwise of the same thing: shown to the reader as a conflict, not decided for them.

A sentence that the answer cites is laid beside each sentence of the passages of other documents. They are in conflict where
both say the same words but for a number of the same unit, a time, a date, or a name that was asked for. What always
holds: a conflict has places in at least two documents, each a quotation of its page; what differs in more than that one thing
is none, so that few are found and fewer are wrong (``docs/answering.md`` has both counted).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID

from search.citations import Citation, cited
from search.injected import claims
from search.models import DocumentVersion
from search.passages import Source
from search.stated import DATE, TIME, YEAR, Sentence, Value, take_apart
from search.support import words
from tenants.models import Organization
from tenants.scope import tenant_scope

SHARED_FROM = 3
"""Content words besides numbers that both sentences have."""
OF_THE_SHORTER_FROM = 0.75
OF_THE_LONGER_FROM = 0.4
MOST = 3
"""Conflicts of one answer, and other documents of one conflict."""
LONGEST = 400
"""Characters of a sentence that is compared; a longer one is a table or a list."""

_ASKS_NAME = re.compile(r"\b(?:who|whom|whose|where|wer|wem|wo|wohin)\b|\b(?:what|which) (?:is|are|was)? ?(?:the )?(?:name|city|place|person|country|contact)\b", re.IGNORECASE)  # fmt: skip
_ASKS_TIME = re.compile(r"\b(?:when|wann|since when|until when|seit wann|bis wann|(?:what|which) (?:year|date|day)|deadline|due)\b", re.IGNORECASE)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Said:
    """What one document says, and where. ``dated`` is the document's own day, or that on which it was ``added``."""

    value: str
    citation: Citation
    dated: date | None = None
    added: date | None = None

    def as_json(self) -> dict[str, Any]:
        return {
            **self.citation.as_json(),
            "value": self.value,
            "dated": self.dated.isoformat() if self.dated else None,
            "added": self.added.isoformat() if self.added else None,
        }


Conflict = tuple[Said, ...]
"""What the answer cites first, then what other documents say."""


def find_conflicts(question: str, quoted: Iterable[Citation], sources: Sequence[Source]) -> list[Conflict]:
    """The conflicts of what is ``quoted`` with the sources of other documents. Dates are not filled in."""
    asked = frozenset(words(question))
    names_asked = _ASKS_NAME.search(question) is not None
    time_asked = _ASKS_TIME.search(question) is not None
    taken_apart = {source.n: _sentences(source) for source in sources}
    found: list[Conflict] = []
    told: set[frozenset[tuple[UUID, str]]] = set()
    for citation in quoted:
        own = [s for s in sources if s.document_id == citation.document_id]
        for sentence in (take_apart(citation.quote[start:end]) for start, end in claims(citation.quote)):
            others: dict[UUID, Said] = {}
            first = ""
            for source in sources:
                if source.document_id in others or source in own:
                    continue
                for span, other in taken_apart[source.n]:
                    differing = _differing(
                        sentence, other, asked, names_asked=names_asked, time_asked=time_asked
                    )
                    if differing is None or first not in ("", differing[0]):
                        continue
                    pair = frozenset(
                        ((citation.document_id, differing[0]), (source.document_id, differing[1]))
                    )
                    if pair not in told:
                        told.add(pair)
                        first = first or differing[0]
                        others[source.document_id] = Said(differing[1], cited(source, *span))
                        break
            if others:
                found.append((Said(first, citation), *list(others.values())[:MOST]))
    return found[:MOST]


def with_dates(organization: Organization, conflicts: Sequence[Conflict]) -> list[Conflict]:
    """The conflicts with the day of each document, so that a reader can tell which is newer."""
    wanted = {said.citation.version_id for conflict in conflicts for said in conflict}
    if not wanted:
        return []
    with tenant_scope(organization):
        rows = DocumentVersion.objects.filter(id__in=wanted).values_list("id", "dated", "created_at")
        days: dict[UUID, tuple[date | None, datetime]] = {id: (dated, added) for id, dated, added in rows}
    return [tuple(_dated(said, days) for said in conflict) for conflict in conflicts]


def as_json(conflicts: Sequence[Conflict]) -> list[dict[str, Any]]:
    """Conflicts as they are streamed and returned by the API, each with its places."""
    return [{"places": [said.as_json() for said in conflict]} for conflict in conflicts]


def places_json(conflicts: Sequence[Conflict]) -> list[dict[str, Any]]:
    """Conflicts as a turn keeps them: a flat list of places, each with its conflict's number, so that those of a removed
    document can be taken out."""
    return [{**said.as_json(), "conflict": n} for n, found in enumerate(conflicts, 1) for said in found]


def grouped(places: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The conflicts of kept places, as :func:`as_json` has them; one that has lost a side is none any more."""
    groups: dict[int, list[dict[str, Any]]] = {}
    for place in places:
        groups.setdefault(place["conflict"], []).append({k: v for k, v in place.items() if k != "conflict"})
    return [{"places": group} for group in groups.values() if len({place["value"] for place in group}) > 1]


def _dated(said: Said, days: dict[UUID, tuple[date | None, datetime]]) -> Said:
    dated, added = days.get(said.citation.version_id, (None, None))
    return Said(said.value, said.citation, dated, added.date() if added else None)


def _sentences(source: Source) -> list[tuple[tuple[int, int], Sentence]]:
    return [
        ((start, end), take_apart(source.text[start:end]))
        for start, end in claims(source.text)
        if end - start <= LONGEST
    ]


def _differing(
    one: Sentence, other: Sentence, asked: frozenset[str], *, names_asked: bool, time_asked: bool
) -> tuple[str, str] | None:
    """What each of two sentences says where the other says otherwise; None where they do not speak of the same."""
    if len(one.text) > LONGEST or (one.codes != other.codes and one.codes and other.codes):
        return None
    about = asked & (one.plain | one.codes)
    if not about or len(about & (other.plain | other.codes)) < 0.6 * len(about):
        return None
    if not (about & one.names) <= other.plain:
        return None
    mine, theirs = (one.names - other.plain), (other.names - one.plain)
    if mine and theirs:
        return _other_name(one, other, mine, theirs, asked) if names_asked else None
    shared = one.plain & other.plain
    shorter, longer = sorted((len(one.plain), len(other.plain)))
    if (
        len(shared) < SHARED_FROM
        or len(shared) < OF_THE_SHORTER_FROM * shorter
        or len(shared) < OF_THE_LONGER_FROM * longer
    ):
        return None
    return _other_value(one, other, time_asked=time_asked)


def _other_value(one: Sentence, other: Sentence, *, time_asked: bool) -> tuple[str, str] | None:
    said, theirs = ({value.value for value in each.values} for each in (one, other))
    for mine in one.values:
        for its in other.values:
            if mine.value in theirs or its.value in said or not mine.units & its.units:
                continue
            in_time = mine.units & its.units & {YEAR, DATE}
            if in_time and not time_asked:
                continue
            if not in_time and one.years != other.years and one.years and other.years:
                continue  # each of another year
            if _lead_to_the_same(mine, its, one, other):
                return _with_times(mine, one), _with_times(its, other)
    return None


def _lead_to_the_same(mine: Value, its: Value, one: Sentence, other: Sentence) -> bool:
    """Whether the words before two values, or where these are few all words, are those of one sentence or part of them: "the
    fee for a single room is" and "the fee for a double room is" lead to two things."""
    before, theirs = mine.before, its.before
    if min(len(before), len(theirs)) < 2:
        before, theirs = one.plain, other.plain
    return before <= theirs or theirs <= before


def _with_times(value: Value, sentence: Sentence) -> str:
    if TIME not in value.units:
        return value.shown
    return " – ".join(v.shown for v in sentence.values if TIME in v.units)


def _other_name(
    one: Sentence, other: Sentence, mine: frozenset[str], theirs: frozenset[str], asked: frozenset[str]
) -> tuple[str, str] | None:
    """Names in the same place of the same sentence: all its other words are shared."""
    if (mine | theirs) & asked:
        return None
    rest, other_rest = one.plain - mine, other.plain - theirs
    shared = rest & other_rest
    if len(shared) < SHARED_FROM or len(shared) < OF_THE_SHORTER_FROM * min(len(rest), len(other_rest)):
        return None
    if len(shared) < 0.6 * max(len(rest), len(other_rest)):
        return None
    return _run(one.text, mine), _run(other.text, theirs)


def _run(text: str, names: frozenset[str]) -> str:
    """The words in capitals that stand together around the first of ``names``."""
    runs = re.findall(r"[^\W\d_a-zß-öø-ÿ][\w'’.-]*(?:\s+[^\W\d_a-zß-öø-ÿ][\w'’.-]*)*", text)
    return next((run.rstrip(".") for run in runs if names & frozenset(words(run))), " ".join(sorted(names)))
