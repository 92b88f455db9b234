"""What the templates of the search page show: results, facets and an answer, as plain values.

What always holds: everything comes from the address and the rows; nothing here waits for a model but the
embedding of the query.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any
from uuid import UUID

from django.http import QueryDict
from django.urls import reverse
from django.utils.safestring import SafeString, mark_safe

from inference.errors import NotReady
from search.asking import LONGEST_QUESTION, answer_html, conflicts_with_urls
from search.conversations import Asker, TurnView
from search.evaluation import feedback
from search.facets import FacetCount
from search.filters import FilterError, parse_filters
from search.hits import Hit
from search.index import IndexFailure
from search.languages import language_name
from search.links import citation_url, document_url
from search.retrieval import Retrieval, SearchFilters, readable_collections, retrieve
from search.snippets import snippet
from tenants.models import Organization

RESULTS = 20
MOST_OPTIONS = 10
"""Authors to choose from."""
FILTER_NAMES = ("type", "collection", "year", "author", "language", "from", "to")

TYPE_LABELS = {
    "application/pdf": "PDF",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "Word",
    "application/vnd.openxmlformats-officedocument.presentationml.presentation": "PowerPoint",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "Excel",
    "text/html": "Web page",
    "text/markdown": "Markdown",
    "text/plain": "Text",
    "text/csv": "CSV",
    "application/vnd.oasis.opendocument.text": "OpenDocument",
    "application/rtf": "Rich text",
    "application/epub+zip": "Book",
    "message/rfc822": "E-mail",
    "application/json": "JSON",
}
ERRORS = {
    "not_ready": "The models were still loading. Ask again.",
    "overloaded": "Too many questions were being answered. Ask again in a few seconds.",
    "lost": "The server was restarted while it wrote this answer. Ask again.",
}


@dataclass(frozen=True, slots=True)
class SnippetPiece:
    text: str
    marked: bool


@dataclass(frozen=True, slots=True)
class PassageRow:
    """A further passage of a result's document."""

    place: str
    snippet: tuple[SnippetPiece, ...]
    url: str


@dataclass(frozen=True, slots=True)
class ResultRow:
    """A document by its best passage, to which ``url`` leads."""

    title: str
    place: str
    type_label: str
    collection: str
    dated: date | None
    snippet: tuple[SnippetPiece, ...]
    url: str
    copies: tuple[tuple[str, str], ...]
    """Title and address of the other documents that say the same."""
    more: tuple[PassageRow, ...]


@dataclass(frozen=True, slots=True)
class FacetOption:
    value: str
    label: str
    count: int
    selected: bool


@dataclass(frozen=True, slots=True)
class Facet:
    """A filter to choose from, as checkboxes named ``name`` in the address."""

    name: str
    label: str
    options: tuple[FacetOption, ...]


@dataclass(frozen=True, slots=True)
class Place:
    """A passage below an answer: a citation, or one of the nearest where there is no answer."""

    n: int
    title: str
    place: str
    quote: str
    url: str
    copies: tuple[tuple[str, str], ...]
    """Title and address of the other documents that say the same."""


@dataclass(frozen=True, slots=True)
class AnswerView:
    """A turn as ``search/_answer.html`` shows it."""

    id: UUID
    conversation_id: UUID
    question: str
    status: str
    html: SafeString
    citations: tuple[Place, ...]
    nearest: tuple[Place, ...]
    conflicts: list[dict[str, Any]]
    in_progress: bool
    error_message: str
    events_url: str
    stop_url: str
    regenerate_url: str
    feedback_url: str
    helpful: bool | None
    """What the asker said of it, if anything."""


def search_page(organization: Organization, address: QueryDict) -> dict[str, Any]:
    """The context of the search page for the parameters in ``address``."""
    q = address.get("q", "").replace("\x00", "").strip()[:LONGEST_QUESTION]
    found, problem = Retrieval(), ""
    as_typed = "as_typed" in address
    try:
        filters = filters_of_address(address)
        if q:
            found = retrieve(
                organization=organization,
                collection_ids=readable_collections(organization),
                query=q,
                limit=RESULTS,
                filters=filters,
                as_typed=as_typed,
                by_document=True,
            )
    except FilterError as error:
        problem = str(error)
    except NotReady as error:
        problem = f"{error} {error.hint}"
    except IndexFailure as error:
        problem = f"{error.message} {error.detail}"
    return {
        "q": q,
        "results": [_result(organization.slug, hit, found.corrected or q) for hit in found.hits],
        "corrected": found.corrected,
        "as_typed_address": f"?{_as_typed(address)}" if found.corrected else "",
        "facets": _facets(found, address) if q else [],
        "filters": {name: address.getlist(name) for name in FILTER_NAMES if address.getlist(name)},
        "ask_filters": [(name, value) for name in FILTER_NAMES for value in address.getlist(name) if value],
        "other_filters": [(name, address[name]) for name in ("from", "to", "as_typed") if address.get(name)],
        "problem": problem,
        "turn": None,
    }


def filters_of_address(address: QueryDict) -> SearchFilters:
    """The filters of the page's parameters. Raises :class:`FilterError`."""
    return parse_filters(
        {
            "media_types": [value for value in address.getlist("type") if value],
            "collection_ids": [value for value in address.getlist("collection") if value],
            "authors": [value for value in address.getlist("author") if value.strip()],
            "languages": [value for value in address.getlist("language") if value],
            "dated_from": address.get("from") or None,
            "dated_to": address.get("to") or None,
            "years": [value for value in address.getlist("year") if value],
        }
    )


def page_turn(asker: Asker, turn: TurnView) -> AnswerView:
    """The turn with its answer as safe HTML and the addresses of its places."""
    slug = asker.organization.slug
    return AnswerView(
        id=turn.id,
        conversation_id=turn.conversation_id,
        question=turn.question,
        status=turn.status,
        html=mark_safe(answer_html(slug, turn)),  # noqa: S308 sanitised by search.markup
        citations=tuple(_place(slug, c, c["quote"]) for c in turn.citations),
        nearest=tuple(_place(slug, s, s["text"]) for s in turn.sources) if turn.status == "not_found" else (),
        conflicts=conflicts_with_urls(slug, turn.conflicts),
        in_progress=turn.is_live,
        error_message=ERRORS.get(turn.error_code, ""),
        events_url=reverse("turn-events", args=[slug, turn.id]),
        stop_url=reverse("turn-stop", args=[slug, turn.id]),
        regenerate_url=reverse("turn-regenerate", args=[slug, turn.id]),
        feedback_url=reverse("turn-feedback", args=[slug, turn.id]),
        helpful=feedback.of_turns(asker.organization, [turn.id]).get(turn.id),
    )


def _place(slug: str, place: dict[str, Any], quote: str) -> Place:
    copies = tuple((copy["title"], citation_url(slug, copy)) for copy in place.get("also_in", ()))
    return Place(place["n"], place["title"], place["place"], quote, citation_url(slug, place), copies)


def _as_typed(address: QueryDict) -> str:
    """The address of the same search with the spelling left as it is, without an answer."""
    other = address.copy()
    for name in ("turn", "wait"):
        other.pop(name, None)
    other["as_typed"] = "1"
    return other.urlencode()


def _result(slug: str, hit: Hit, q: str) -> ResultRow:
    return ResultRow(
        title=hit.title,
        place=hit.place,
        type_label=TYPE_LABELS.get(hit.media_type, hit.media_type.rpartition("/")[2].upper()),
        collection=hit.collection_name,
        dated=hit.dated,
        snippet=_snippet(hit, q),
        url=_url(slug, hit),
        copies=tuple((copy.title, _url(slug, copy)) for copy in hit.copied_in),
        more=tuple(PassageRow(other.place, _snippet(other, q), _url(slug, other)) for other in hit.more),
    )


def _snippet(hit: Hit, q: str) -> tuple[SnippetPiece, ...]:
    return tuple(SnippetPiece(text, marked) for text, marked in snippet(hit.text, q))


def _url(slug: str, hit: Hit) -> str:
    return document_url(slug, hit.document_id, page=hit.page, start=hit.start, end=hit.end)


def _type_label(media_type: str) -> str:
    return TYPE_LABELS.get(media_type, media_type)


def _facets(found: Retrieval, address: QueryDict) -> list[Facet]:
    types = [FacetCount(f.value, _type_label(f.value), f.count) for f in found.facets.media_types]
    languages = [FacetCount(f.value, language_name(f.value), f.count) for f in found.facets.languages]
    facets = [
        Facet("type", "Type", _options(types, address.getlist("type"), _type_label)),
        Facet("year", "Date", _options(found.facets.years, address.getlist("year"))),
        Facet("author", "Author", _options(found.facets.authors[:MOST_OPTIONS], address.getlist("author"))),
        Facet("language", "Language", _options(languages, address.getlist("language"), language_name)),
        Facet("collection", "Collection", _options(found.facets.collections, address.getlist("collection"))),
    ]
    return [facet for facet in facets if facet.options]


def _options(
    counts: Sequence[FacetCount],
    chosen: Sequence[str],
    label: Callable[[str], str] = str,
) -> tuple[FacetOption, ...]:
    """What was found, and what was chosen although nothing was found for it, so that it can be taken away."""
    options = [FacetOption(f.value, f.label, f.count, f.value in chosen) for f in counts]
    known = {option.value for option in options}
    missing = [FacetOption(v, label(v), 0, True) for v in dict.fromkeys(chosen) if v and v not in known]
    return (*options, *missing)
