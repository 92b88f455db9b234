"""Ask, and answer on a thread: what the page and the API both call.

What always holds: a turn exists before its answer begins, and its end is written whatever happens; the page
and the API give the same answer with the same citations.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from typing import Any
from uuid import UUID

from asgiref.sync import sync_to_async

from inference import runtime
from inference.request import Priority
from search import conversations, streams
from search.answering import Question, StopSignal, answer
from search.conversations import Asker, TurnView
from search.events import (
    PING,
    AnswerCompleted,
    AnswerEvent,
    AnswerFailed,
    CitationFound,
    RunCreated,
    SourcesFound,
    data_of,
    frame,
    source_json,
)
from search.filters import parse_filters
from search.links import citation_links, citation_url
from search.markup import render
from search.retrieval import readable_collections

logger = logging.getLogger(__name__)

LONGEST_QUESTION = 4000
LONGEST_WAIT_S = 300.0
POLL_EVERY_S = 1.0


def ask(
    asker: Asker,
    *,
    question: str,
    filters: dict[str, Any],
    conversation_id: UUID | None = None,
    priority: Priority = Priority.INTERACTIVE,
) -> TurnView:
    """Writes the turn and begins its answer. Returns at once.

    Raises ``NotReady`` before anything is written while the models load, ``Overloaded``,
    ``NoSuchConversation``.
    """
    models = runtime.current()
    _ = models.generator, models.embedder
    turn = conversations.create_turn(
        asker, question=question, filters=filters, conversation_id=conversation_id
    )
    _begin(asker, turn, priority, vary=False)
    return turn


def ask_again(asker: Asker, turn_id: UUID) -> TurnView:
    """Answers the turn's question again, in other words. Raises as :func:`ask`."""
    models = runtime.current()
    _ = models.generator, models.embedder
    turn = conversations.restart_turn(asker, turn_id)
    _begin(asker, turn, Priority.INTERACTIVE, vary=True)
    return turn


def stop(asker: Asker, turn_id: UUID) -> TurnView:
    """Stops the turn's generation if it runs here; what was written so far stays."""
    turn = conversations.get_turn(asker, turn_id)
    stream = streams.find(turn_id)
    if stream is None or not turn.is_live:
        return turn
    stream.stop()
    stream.wait(5.0)
    return conversations.get_turn(asker, turn_id)


def wait_for(asker: Asker, turn_id: UUID, timeout_s: float = LONGEST_WAIT_S) -> TurnView:
    """The turn once its answer is complete, or as it is after ``timeout_s``. Blocks this thread."""
    stream = streams.find(turn_id)
    if stream is not None:
        stream.wait(timeout_s)
    return conversations.get_turn(asker, turn_id)


def answer_html(slug: str, turn: TurnView) -> str:
    """The turn's answer as safe HTML, with its citations as links to the documents."""
    return render(turn.answer, citation_links(slug, turn.citations))


async def event_stream(asker: Asker, turn: TurnView, after: int) -> AsyncIterator[bytes]:
    """The turn's events after number ``after``: live where it runs in this process, otherwise its end from
    the row.
    """
    stream = streams.find(turn.id)
    if stream is not None:
        async for part in stream.read(after):
            yield part
        return
    get_turn = sync_to_async(conversations.get_turn)
    waited = 0.0
    while turn.is_live and waited < LONGEST_WAIT_S:
        await asyncio.sleep(POLL_EVERY_S)
        waited += POLL_EVERY_S
        if waited % 10 < POLL_EVERY_S:
            yield PING
        turn = await get_turn(asker, turn.id)
    for number, (name, data) in enumerate(_events_of_row(asker.organization.slug, turn), 1):
        if number > after or name in ("answer.completed", "error"):
            yield frame(max(number, after + 1), name, data)


def _begin(asker: Asker, turn: TurnView, priority: Priority, *, vary: bool) -> None:
    def produce(stop: StopSignal) -> Iterator[streams.Event]:
        return _produce(asker, turn, priority, stop, vary=vary)

    try:
        streams.start(turn.id, produce)
    except Exception:
        conversations.keep_answer(asker.organization, turn.id, AnswerFailed("overloaded", ""), None)
        raise


def _produce(
    asker: Asker, turn: TurnView, priority: Priority, stop: StopSignal, *, vary: bool
) -> Iterator[streams.Event]:
    """The events of one answer for its stream; its end is kept before it is told."""
    organization = asker.organization
    yield _wire(asker, RunCreated(str(turn.id), str(turn.conversation_id)))
    sources: SourcesFound | None = None
    ended = False
    try:
        earlier = conversations.earlier_questions(organization, turn)
        question = Question(
            text=turn.question,
            collection_ids=tuple(readable_collections(organization)),
            filters=parse_filters(turn.filters),
            earlier=tuple(q for q in earlier if q != turn.question),
            vary=vary or turn.question in earlier,
        )
        conversations.mark_streaming(organization, turn.id)
        for event in answer(
            organization=organization,
            question=question,
            models=runtime.current(),
            stop=stop,
            priority=priority,
        ):
            if isinstance(event, SourcesFound):
                sources = event
            if isinstance(event, AnswerCompleted | AnswerFailed):
                ended = _keep(asker, turn.id, event, sources)
            yield _wire(asker, event, sources)
    finally:
        if not ended:
            _keep(asker, turn.id, AnswerFailed("server_error", ""), sources)


def _keep(
    asker: Asker, turn_id: UUID, end: AnswerCompleted | AnswerFailed, sources: SourcesFound | None
) -> bool:
    conversations.keep_answer(asker.organization, turn_id, end, sources)
    return True


def _wire(asker: Asker, event: AnswerEvent, sources: SourcesFound | None = None) -> streams.Event:
    """An event as readers get it: citations with their address, the answer also as HTML."""
    data = data_of(event)
    slug = asker.organization.slug
    if isinstance(event, CitationFound):
        data["url"] = citation_url(slug, data)
    if isinstance(event, SourcesFound):
        data["sources"] = _with_urls(slug, data["sources"])
    if isinstance(event, AnswerCompleted):
        data["html"] = render(event.answer, citation_links(slug, data["citations"]))
        data["citations"] = _with_urls(slug, data["citations"])
        data["nearest"] = _nearest(
            slug, event.status, [source_json(s) for s in sources.sources] if sources else []
        )
    return event.name, data


def _with_urls(slug: str, places: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**place, "url": citation_url(slug, place)} for place in places]


def _nearest(slug: str, status: str, sources: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The passages to show where there is no answer."""
    if status != "not_found":
        return []
    return [{**place, "quote": place["text"]} for place in _with_urls(slug, sources)]


def _events_of_row(slug: str, turn: TurnView) -> list[streams.Event]:
    """What a reader who comes late gets to know: the passages and the end."""
    if turn.is_live:
        return [
            ("error", {"code": "timeout", "message": "The answer takes too long. Reload the page later."})
        ]
    events: list[streams.Event] = [("sources", {"sources": _with_urls(slug, turn.sources)})]
    if turn.status == "failed":
        return [*events, ("error", {"code": turn.error_code, "message": "The answer failed. Ask again."})]
    usage = {"prompt_tokens": turn.prompt_tokens, "completion_tokens": turn.completion_tokens}
    data = {
        "status": turn.status,
        "answer": turn.answer,
        "citations": _with_urls(slug, turn.citations),
        "nearest": _nearest(slug, turn.status, turn.sources),
        "usage": usage,
        "html": answer_html(slug, turn),
    }
    return [*events, ("usage", usage), ("answer.completed", data)]
