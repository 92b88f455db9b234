"""Conversations as rows: who asked what, and what came of it.

What always holds: a conversation belongs to the one person or key that began it and to nobody else, not even
of the same organisation; every function here is one short visit to the rows of one organisation.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from search.conflicts import grouped, places_json
from search.evaluation.forgetting import places_without
from search.events import AnswerCompleted, AnswerFailed, SourcesFound, source_json
from search.models import Conversation, Document, Turn
from tenants.models import Organization
from tenants.scope import tenant_scope

EARLIER_QUESTIONS = 2
LIVE_STATUSES = (Turn.Status.PENDING, Turn.Status.STREAMING)
LOST_AFTER = timedelta(minutes=15)
"""A turn that is under way for longer was lost with its process."""


class NoSuchConversation(LookupError):
    """There is no such conversation or turn for this asker."""

    code = "not_found"
    status = 404

    def __init__(self) -> None:
        super().__init__("There is nothing here.")


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks, in which organisation: a signed-in person, or an API key."""

    organization: Organization
    user_id: int | None = None
    api_key_id: int | None = None


@dataclass(frozen=True, slots=True)
class TurnView:
    """A turn, read: plain values that outlive the scope."""

    id: UUID
    conversation_id: UUID
    question: str
    filters: dict[str, Any]
    status: str
    answer: str
    citations: list[dict[str, Any]]
    sources: list[dict[str, Any]]
    conflicts: list[dict[str, Any]]
    prompt_tokens: int
    completion_tokens: int
    model: str
    error_code: str
    created_at: datetime
    begun_at: datetime

    @property
    def is_live(self) -> bool:
        """Whether the answer is still being made."""
        return self.status in LIVE_STATUSES


@dataclass(frozen=True, slots=True)
class ConversationView:
    id: UUID
    title: str
    created_at: datetime
    turns: tuple[TurnView, ...] = ()


def create_turn(
    asker: Asker, *, question: str, filters: dict[str, Any], conversation_id: UUID | None = None
) -> TurnView:
    """A new pending turn, in a new conversation unless one is named. Raises :class:`NoSuchConversation`."""
    with tenant_scope(asker.organization):
        if conversation_id is None:
            conversation = Conversation.objects.create(
                organization=asker.organization,
                user_id=None if asker.api_key_id else asker.user_id,
                api_key_id=asker.api_key_id,
                title=" ".join(question.split())[:120],
            )
        else:
            conversation = _own(asker, conversation_id)
        turn = Turn.objects.create(
            organization=asker.organization, conversation=conversation, question=question, filters=filters
        )
        return _view(turn)


def get_turn(asker: Asker, turn_id: UUID) -> TurnView:
    """The turn, if it is the asker's. Raises :class:`NoSuchConversation`."""
    with tenant_scope(asker.organization):
        turn = Turn.objects.select_related("conversation").filter(id=turn_id).first()
        if turn is None or not _is_own(asker, turn.conversation):
            raise NoSuchConversation
        return _view(turn)


def restart_turn(asker: Asker, turn_id: UUID) -> TurnView:
    """The turn, emptied and pending again. Raises :class:`NoSuchConversation`."""
    get_turn(asker, turn_id)
    with tenant_scope(asker.organization):
        Turn.objects.filter(id=turn_id).update(
            status=Turn.Status.PENDING, answer="", citations=[], sources=[], conflicts=[], prompt_tokens=0,
            completion_tokens=0, model="", error_code="", begun_at=timezone.now(),
        )  # fmt: skip
    return get_turn(asker, turn_id)


def earlier_questions(organization: Organization, turn: TurnView) -> tuple[str, ...]:
    """The last questions of the conversation before this turn, oldest first."""
    with tenant_scope(organization):
        before = (
            Turn.objects.filter(conversation_id=turn.conversation_id, created_at__lt=turn.created_at)
            .exclude(id=turn.id)
            .order_by("-created_at")
            .values_list("question", flat=True)[:EARLIER_QUESTIONS]
        )
        return tuple(reversed(before))


def mark_streaming(organization: Organization, turn_id: UUID) -> None:
    with tenant_scope(organization):
        Turn.objects.filter(id=turn_id, status=Turn.Status.PENDING).update(status=Turn.Status.STREAMING)


def keep_answer(
    organization: Organization,
    turn: TurnView,
    end: AnswerCompleted | AnswerFailed,
    sources: SourcesFound | None,
) -> bool:
    """Writes how the turn ended, with its citations and the passages that were found.

    The first end counts: returns False where ``turn`` has ended otherwise or was begun again meanwhile. Nothing
    of a document that was removed meanwhile is written.
    """
    values: dict[str, Any] = {"sources": [source_json(s) for s in sources.sources] if sources else []}
    if isinstance(end, AnswerFailed):
        values |= {"status": Turn.Status.FAILED, "error_code": end.code[:40]}
    else:
        values |= {
            "status": end.status,
            "answer": end.answer,
            "citations": [citation.as_json() for citation in end.citations],
            "conflicts": places_json(end.conflicts),
            "prompt_tokens": end.usage.prompt_tokens,
            "completion_tokens": end.usage.completion_tokens,
            "model": end.model[:200],
        }
    with tenant_scope(organization), transaction.atomic():
        leave_out_removed(values, ("citations", "sources", "conflicts"))
        same_run = Turn.objects.filter(id=turn.id, begun_at=turn.begun_at, status__in=LIVE_STATUSES)
        return bool(same_run.update(**values))


def leave_out_removed(values: dict[str, Any], names: Sequence[str]) -> None:
    """Takes places of documents that are gone or hidden out of the lists ``names`` of ``values``. Those that are there
    are locked, so that a removal waits for what is about to be written and then finds it. Called within a transaction
    in the organisation's scope. A name that is no id is of no document of ours and stays.
    """
    places = [place for name in names for place in values.get(name, ())]
    places += [copy for place in places for copy in place.get("also_in", ())]
    named = {document for place in places if _is_id(document := str(place["document_id"]))}
    shown = Document.objects.select_for_update().filter(id__in=named, published__isnull=False).order_by("id")
    gone = named - {str(i) for i in shown.values_list("id", flat=True)}
    for name in values.keys() & set(names):
        for document in gone:
            values[name] = places_without(values[name], document)


def _is_id(text: str) -> bool:
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False


def own_conversations(asker: Asker) -> QuerySet[Conversation]:
    """The asker's conversations; to be evaluated within the organisation's scope, where this is called."""
    mine = Conversation.objects.order_by("-created_at", "-id")
    if asker.api_key_id is not None:
        return mine.filter(api_key_id=asker.api_key_id)
    return mine.filter(user_id=asker.user_id, api_key_id=None) if asker.user_id is not None else mine.none()


def list_conversations(
    asker: Asker, *, before: UUID | None = None, limit: int = 100
) -> tuple[list[ConversationView], UUID | None]:
    """The asker's latest conversations, or those before one, without their turns; and, where there are older ones,
    the id to go on ``before``. Raises :class:`NoSuchConversation`.
    """
    with tenant_scope(asker.organization):
        found = own_conversations(asker)
        if before is not None:
            last = _own(asker, before)
            found = found.filter(
                Q(created_at__lt=last.created_at) | Q(created_at=last.created_at, id__lt=last.id)
            )
        views = [ConversationView(c.id, c.title, c.created_at) for c in found[: limit + 1]]
    return views[:limit], views[limit - 1].id if len(views) > limit else None


def get_conversation(asker: Asker, conversation_id: UUID) -> ConversationView:
    """The conversation with its turns in order. Raises :class:`NoSuchConversation`."""
    with tenant_scope(asker.organization):
        found = _own(asker, conversation_id)
        turns = tuple(_views(Turn.objects.filter(conversation=found).order_by("created_at")))
        return ConversationView(found.id, found.title, found.created_at, turns)


def delete_conversation(asker: Asker, conversation_id: UUID) -> None:
    """Deletes the conversation and its turns. Raises :class:`NoSuchConversation`."""
    with tenant_scope(asker.organization):
        _own(asker, conversation_id).delete()


def _own(asker: Asker, conversation_id: UUID) -> Conversation:
    found = own_conversations(asker).filter(id=conversation_id).first()
    if found is None:
        raise NoSuchConversation
    return found


def _is_own(asker: Asker, conversation: Conversation) -> bool:
    if asker.api_key_id is not None:
        return conversation.api_key_id == asker.api_key_id
    mine = asker.user_id is not None and conversation.user_id == asker.user_id
    return mine and conversation.api_key_id is None


def _views(turns: Iterable[Turn]) -> Iterable[TurnView]:
    return (_view(turn) for turn in turns)


def _view(turn: Turn) -> TurnView:
    lost = turn.status in LIVE_STATUSES and timezone.now() - turn.begun_at > LOST_AFTER
    return TurnView(
        id=turn.id,
        conversation_id=turn.conversation_id,
        question=turn.question,
        filters=turn.filters,
        status=Turn.Status.FAILED.value if lost else str(turn.status),
        answer=turn.answer,
        citations=[_placed(citation) for citation in turn.citations],
        sources=[_placed(source) for source in turn.sources],
        conflicts=grouped(turn.conflicts),
        prompt_tokens=turn.prompt_tokens,
        completion_tokens=turn.completion_tokens,
        model=turn.model,
        error_code="lost" if lost else turn.error_code,
        created_at=turn.created_at,
        begun_at=turn.begun_at,
    )


def _placed(place: dict[str, Any]) -> dict[str, Any]:
    """One that was kept before places were said in words: a first page may be one that no reader sees."""
    return {
        "is_paged": place["page"] > 1,
        "place": f"page {place['page']}" if place["page"] > 1 else "",
        **place,
    }
