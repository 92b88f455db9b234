"""Ask, and answer on a thread: what the page and the API both call.

What always holds: a turn exists before its answer begins, and its end is written whatever happens: by the
process that makes the answer or, where that died, by the first one that is asked about it; the page and the API
give the same answer with the same citations.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any
from uuid import UUID

from asgiref.sync import sync_to_async

from inference import runtime
from inference.request import Priority
from search import conversations, streams
from search.answering import Question, answer
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
from search.generating import StopSignal
from search.links import citation_links, citation_names, citation_url
from search.markup import render
from search.retrieval import readable_collections
from search.streams import Ending, RunKey, Stream, StreamsUnavailable
from search.unsupported import unsupported_spans

logger = logging.getLogger(__name__)

LONGEST_QUESTION = 4000
LONGEST_WAIT_S = 300.0
LONGEST_STOP_S = 10.0
POLL_EVERY_S = 1.0
LOOK_FOR_S = 2.0
"""How long a turn under way may be without a stream: it is written a moment before its stream begins."""
SUPERSEDED = AnswerFailed("superseded", "This answer was replaced. Reload the page.")
WITH_CLAIMS = ("answered", "stopped")
"""Statuses of answers that state something."""
LOST = AnswerFailed("lost", "The server that wrote this answer has stopped. Ask again.")


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
    """Stops the turn's generation, in whichever process it runs; what was written so far stays."""
    turn = conversations.get_turn(asker, turn_id)
    if not turn.is_live:
        return turn
    stream = _find(asker, turn)
    if stream is not None:
        stream.stop()
    return _ended(asker, turn, stream, LONGEST_STOP_S)


def wait_for(asker: Asker, turn_id: UUID, timeout_s: float = LONGEST_WAIT_S) -> TurnView:
    """The turn once its answer is complete, or as it is after ``timeout_s``. Blocks this thread."""
    turn = conversations.get_turn(asker, turn_id)
    return _ended(asker, turn, _find(asker, turn), timeout_s) if turn.is_live else turn


def look_at(asker: Asker, turn_id: UUID) -> TurnView:
    """The turn as it is now; failed where the process that made its answer died. Raises
    ``NoSuchConversation``."""
    turn = conversations.get_turn(asker, turn_id)
    return _ended(asker, turn, _find(asker, turn), 0.0) if turn.is_live else turn


def answer_html(slug: str, turn: TurnView) -> str:
    """The turn's answer as safe HTML, with its citations as links to the documents."""
    return _html(slug, turn.status, turn.answer, turn.citations)


def _html(slug: str, status: str, answer: str, citations: list[dict[str, Any]]) -> str:
    spans = unsupported_spans(answer) if status in WITH_CLAIMS else []
    return render(answer, citation_links(slug, citations), citation_names(citations), spans)


def unsupported_json(status: str, answer: str) -> list[dict[str, Any]]:
    """The sentences of an answer that no passage supports, as they are streamed and returned by the API."""
    spans = unsupported_spans(answer) if status in WITH_CLAIMS else []
    return [{"start": start, "end": end, "text": answer[start:end]} for start, end in spans]


async def event_stream(asker: Asker, turn: TurnView, after: int) -> AsyncIterator[bytes]:
    """The turn's events after number ``after``, whichever process makes its answer; where they are no
    longer kept, the passages and the end from the row.
    """
    stream = await asyncio.to_thread(_find, asker, turn)
    if stream is not None:
        async for part in stream.read(after):
            yield part
        if stream.ending is Ending.COMPLETE:
            if after > stream.last:  # the reader counted the events of an answer that this one replaced
                async for part in stream.read():
                    yield part
            return
        after = max(after, stream.last)
    give_up, get_turn = sync_to_async(_give_up), sync_to_async(conversations.get_turn)
    turn = await get_turn(asker, turn.id)
    if turn.is_live and _is_lost(stream):
        turn = await give_up(asker, turn)
    waited = 0.0
    while turn.is_live and waited < LONGEST_WAIT_S:  # the store does not answer: the row alone can tell
        await asyncio.sleep(POLL_EVERY_S)
        waited += POLL_EVERY_S
        if waited % 10 < POLL_EVERY_S:
            yield PING
        turn = await get_turn(asker, turn.id)
    for number, (name, data) in enumerate(_events_of_row(asker.organization.slug, turn), 1):
        if number > after or name in ("answer.completed", "error"):
            yield frame(max(number, after + 1), name, data)


def _find(asker: Asker, turn: TurnView) -> Stream | None:
    """The turn's stream. None where there is none, also after some looking where the turn is under way.
    A stream that is ``CUT`` stands for one that cannot be asked for.
    """
    run = _run_of(asker, turn)
    until = time.monotonic() + (LOOK_FOR_S if turn.is_live else 0.0)
    try:
        while (stream := streams.find(run)) is None and time.monotonic() < until:
            time.sleep(LOOK_FOR_S / 10)
        return stream
    except StreamsUnavailable:
        nothing = Stream()
        nothing.close(Ending.CUT)
        return nothing


def _ended(asker: Asker, turn: TurnView, stream: Stream | None, timeout_s: float) -> TurnView:
    """The turn once its stream has ended, or as it is after ``timeout_s``."""
    if stream is not None and timeout_s:
        stream.wait(timeout_s)
    turn = conversations.get_turn(asker, turn.id)
    return _give_up(asker, turn) if turn.is_live and _is_lost(stream) else turn


def _is_lost(stream: Stream | None) -> bool:
    return stream is None or stream.ending is Ending.LOST


def _give_up(asker: Asker, turn: TurnView) -> TurnView:
    """Writes that the process which made this answer died, unless the row knows of an end."""
    logger.warning("the answer of turn %s was lost with its process", turn.id)
    conversations.keep_answer(asker.organization, turn, LOST, None)
    return conversations.get_turn(asker, turn.id)


def _run_of(asker: Asker, turn: TurnView) -> RunKey:
    return RunKey(asker.organization.pk, turn.id)


def _begin(asker: Asker, turn: TurnView, priority: Priority, *, vary: bool) -> None:
    def produce(stop: StopSignal) -> Iterator[streams.Event]:
        return _produce(asker, turn, priority, stop, vary=vary)

    try:
        streams.start(_run_of(asker, turn), produce)
    except Exception:
        conversations.keep_answer(asker.organization, turn, AnswerFailed("overloaded", ""), None)
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
                ended = True
                if not conversations.keep_answer(organization, turn, event, sources):
                    event = SUPERSEDED
            yield _wire(asker, event, sources)
    finally:
        if not ended:
            conversations.keep_answer(organization, turn, AnswerFailed("server_error", ""), sources)


def _wire(asker: Asker, event: AnswerEvent, sources: SourcesFound | None = None) -> streams.Event:
    """An event as readers get it: citations with their address, the answer also as HTML."""
    data = data_of(event)
    slug = asker.organization.slug
    if isinstance(event, CitationFound):
        data["url"] = citation_url(slug, data)
    if isinstance(event, SourcesFound):
        data["sources"] = _with_urls(slug, data["sources"])
    if isinstance(event, AnswerCompleted):
        data["html"] = _html(slug, event.status, event.answer, data["citations"])
        data["unsupported"] = unsupported_json(event.status, event.answer)
        data["citations"] = _with_urls(slug, data["citations"])
        data["conflicts"] = conflicts_with_urls(slug, data["conflicts"])
        data["nearest"] = _nearest(
            slug, event.status, [source_json(s) for s in sources.sources] if sources else []
        )
    return event.name, data


def _with_urls(slug: str, places: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**place, "url": citation_url(slug, place)} for place in places]


def conflicts_with_urls(slug: str, conflicts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Conflicts whose places have their addresses."""
    return [{"places": _with_urls(slug, conflict["places"])} for conflict in conflicts]


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
        "conflicts": conflicts_with_urls(slug, turn.conflicts),
        "nearest": _nearest(slug, turn.status, turn.sources),
        "usage": usage,
        "model": turn.model,
        "html": answer_html(slug, turn),
        "unsupported": unsupported_json(turn.status, turn.answer),
    }
    return [*events, ("usage", usage), ("answer.completed", data)]
