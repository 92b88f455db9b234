"""What readers thought of answers.

What always holds: only who asked may say it, once for each answer, and may change it; it is kept with the answer, its
passages and the settings as they were; the inbox is of the organisation's administrators.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from search import conversations
from search.conversations import Asker
from search.evaluation.models import EvaluationQuestion, Feedback
from search.evaluation.own import MOST_QUESTIONS, OwnQuestion
from search.evaluation.run import settings_that_matter
from search.evaluation.suites import SuiteError
from search.models import Document
from tenants.models import Organization
from tenants.scope import tenant_scope

Reason = Feedback.Reason
LONGEST_COMMENT = 2000
SHOWN = 100


class NotAnswered(ValueError):
    """There is no answer yet to think something of."""

    code = "not_answered"


def give(
    asker: Asker, turn_id: UUID, *, helpful: bool, reasons: Sequence[str] = (), comment: str = ""
) -> Feedback:
    """Keeps what the asker thinks of an answer, in the place of what was said before; reasons are of an answer that is not
    ``helpful``. Raises ``NoSuchConversation`` for a turn of somebody else and :class:`NotAnswered`."""
    turn = conversations.get_turn(asker, turn_id)
    if turn.is_live or turn.status == "failed":
        raise NotAnswered("There is no complete answer yet.")
    known = [] if helpful else [reason for reason in dict.fromkeys(reasons) if reason in Reason.values]
    values: dict[str, Any] = {
        "helpful": helpful, "reasons": known, "comment": comment.replace("\x00", "").strip()[:LONGEST_COMMENT],
        "question": turn.question, "answer": turn.answer, "status": turn.status, "citations": turn.citations,
        "passages": turn.sources, "configuration": {"model": turn.model, "settings": settings_that_matter()},
        "handled_at": None, "created_at": timezone.now(),
    }  # fmt: skip
    with tenant_scope(asker.organization), transaction.atomic():
        conversations.leave_out_removed(values, ("citations", "passages"))
        given, _ = Feedback.objects.get_or_create(
            organization=asker.organization, turn_id=turn.id, defaults=values
        )
        Feedback.objects.filter(id=given.id).update(**values)
        return Feedback.objects.get(id=given.id)


def of_turns(organization: Organization, turn_ids: Sequence[UUID]) -> dict[UUID, bool]:
    """Whether the answers of these turns were called helpful, of those of which something was said."""
    with tenant_scope(organization):
        rows = Feedback.objects.filter(turn_id__in=turn_ids).values_list("turn_id", "helpful")
        return {turn_id: helpful for turn_id, helpful in rows if turn_id is not None}


def inbox(organization: Organization, *, handled: bool = False) -> list[Feedback]:
    """The latest that nobody has handled, or those that somebody has."""
    with tenant_scope(organization):
        return list(Feedback.objects.filter(handled_at__isnull=not handled)[:SHOWN])


def handle(organization: Organization, feedback_id: UUID, *, handled: bool = True) -> None:
    """Says that it needs no more looking at, or that it does. Raises ``Feedback.DoesNotExist``."""
    with tenant_scope(organization):
        if not Feedback.objects.filter(id=feedback_id).update(handled_at=timezone.now() if handled else None):
            raise Feedback.DoesNotExist


def make_question(organization: Organization, feedback_id: UUID) -> EvaluationQuestion:
    """Makes a question of the organisation's own set of it, once; the answer that is expected is there to be edited.

    An answer that was called helpful is expected again, with its documents; of any other, people say what is right.
    Raises ``Feedback.DoesNotExist``, and :class:`SuiteError` where the set is full.
    """
    with tenant_scope(organization), transaction.atomic():
        given = Feedback.objects.select_for_update().get(id=feedback_id)
        if given.evaluation_question_id is not None:
            return EvaluationQuestion.objects.get(id=given.evaluation_question_id)
        if EvaluationQuestion.objects.count() >= MOST_QUESTIONS:
            raise SuiteError(
                f"There would be more than {MOST_QUESTIONS} questions.", hint="Remove some first."
            )
        cited = {place["document_id"] for place in given.citations} if given.helpful else set()
        there = sorted(str(i) for i in Document.objects.filter(id__in=cited).values_list("id", flat=True))
        missing = Reason.NOT_FOUND in given.reasons
        question = EvaluationQuestion.objects.create(
            organization=organization, question=given.question, documents=there,
            answerable=given.status == "answered" if given.helpful else True if missing else None,
        )  # fmt: skip
        Feedback.objects.filter(id=given.id).update(
            evaluation_question=question, handled_at=given.handled_at or timezone.now()
        )
        return question


def edit_question(organization: Organization, question_id: UUID, new: OwnQuestion) -> None:
    """Puts ``new`` in the place of a question. Raises ``EvaluationQuestion.DoesNotExist``."""
    with tenant_scope(organization):
        changed = EvaluationQuestion.objects.filter(id=question_id).update(
            question=new.question, answerable=new.answerable, answers=list(new.answers),
            documents=list(new.documents), pages=list(new.pages),
        )  # fmt: skip
        if not changed:
            raise EvaluationQuestion.DoesNotExist


def remove_question(organization: Organization, question_id: UUID) -> None:
    """Takes a question out of the set. Raises ``EvaluationQuestion.DoesNotExist``."""
    with tenant_scope(organization):
        EvaluationQuestion.objects.get(id=question_id).delete()
