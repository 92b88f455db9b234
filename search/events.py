"""What happens while a question is answered, as values, and their form as server-sent events.

What always holds: the last event is ``answer.completed`` or ``error`` and nothing follows it; events of a
stream are numbered from 1 without a gap, so that a reader who lost the connection asks for what came after
its last one.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, ClassVar

from search.citations import Citation
from search.conflicts import Conflict, as_json
from search.passages import Source

PING = b": ping\n\n"
PING_EVERY_S = 10.0


@dataclass(frozen=True, slots=True)
class RunCreated:
    name: ClassVar[str] = "run.created"
    turn_id: str
    conversation_id: str


@dataclass(frozen=True, slots=True)
class QueryRewritten:
    """What is searched for instead of, or beside, the question as it is: a follow-up together with the question before it,
    misspelt words as the documents have them."""

    name: ClassVar[str] = "query.rewritten"
    query: str


@dataclass(frozen=True, slots=True)
class SourcesFound:
    """The numbered passages that the answer may cite, or the nearest ones when there will be no answer."""

    name: ClassVar[str] = "sources"
    sources: tuple[Source, ...]


@dataclass(frozen=True, slots=True)
class AnswerDelta:
    name: ClassVar[str] = "answer.delta"
    text: str


@dataclass(frozen=True, slots=True)
class CitationFound:
    """A citation of the text so far; one with the same ``n`` replaces it."""

    name: ClassVar[str] = "citation"
    citation: Citation


@dataclass(frozen=True, slots=True)
class CitationVerified:
    name: ClassVar[str] = "citation.verified"
    n: int
    support: float


@dataclass(frozen=True, slots=True)
class UsageCounted:
    name: ClassVar[str] = "usage"
    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True, slots=True)
class AnswerCompleted:
    """The whole answer. It counts even where it differs from the deltas before it."""

    name: ClassVar[str] = "answer.completed"
    status: str
    answer: str
    citations: tuple[Citation, ...]
    usage: UsageCounted
    model: str = ""
    """Which language model was asked, by the name of its route; empty where none was."""
    conflicts: tuple[Conflict, ...] = ()
    """What other documents say otherwise."""


@dataclass(frozen=True, slots=True)
class AnswerFailed:
    name: ClassVar[str] = "error"
    code: str
    message: str


AnswerEvent = (
    RunCreated | QueryRewritten | SourcesFound | AnswerDelta | CitationFound | CitationVerified | UsageCounted
    | AnswerCompleted | AnswerFailed
)  # fmt: skip


def source_json(source: Source) -> dict[str, Any]:
    """A passage as it is stored with a turn and streamed: its beginning only."""
    return {
        "n": source.n,
        "document_id": str(source.document_id),
        "version_id": str(source.version_id),
        "title": source.title,
        "page": source.page,
        "is_paged": source.is_paged,
        "place": source.place,
        "start": source.start,
        "end": source.end,
        "collection": source.collection,
        "text": source.text[:300],
        "also_in": [copy.as_json() for copy in source.also_in],
    }


def data_of(event: AnswerEvent) -> dict[str, Any]:
    """The ``data`` of an event, as JSON values."""
    match event:
        case SourcesFound(sources):
            return {"sources": [source_json(source) for source in sources]}
        case CitationFound(citation):
            return citation.as_json()
        case AnswerCompleted():
            return {
                "status": event.status,
                "answer": event.answer,
                "citations": [citation.as_json() for citation in event.citations],
                "conflicts": as_json(event.conflicts),
                "usage": data_of(event.usage),
                "model": event.model,
            }
        case _:
            return {field: getattr(event, field) for field in event.__dataclass_fields__ if field != "name"}


def frame(number: int, name: str, data: dict[str, Any]) -> bytes:
    """One event on the wire. JSON has no raw line break, so that ``data`` is always one line."""
    return f"id: {number}\nevent: {name}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n".encode()


def last_event_id(value: str | None) -> int:
    """The number after which a reader goes on: 0 for none, or for what is no number."""
    return int(value) if value is not None and value.isascii() and value.isdigit() and len(value) < 10 else 0
