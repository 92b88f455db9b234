"""One organisation's rows of every kind, each of them marked with its canary."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

import numpy as np
from django.contrib.auth.models import User
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.utils import timezone

from ingestion.models import IngestionJob
from search.evaluation.models import (
    EvaluationCorpus,
    EvaluationQuestion,
    EvaluationResult,
    EvaluationRun,
    Feedback,
)
from search.models import Chunk, Collection, Conversation, Document, DocumentVersion, Page, Turn
from tenants.keys import create_key
from tenants.models import ApiKey, Membership, Organization, Role
from tenants.scope import tenant_scope


@dataclass(frozen=True, slots=True)
class World:
    """What an organisation has; ``ids`` are the values for a route's parameters, by kind of object."""

    organization: Organization
    owner: User
    canary: str
    document: Document
    version: DocumentVersion
    chunk: Chunk
    conversation: Conversation
    turn: Turn
    key: ApiKey
    key_text: str
    membership: Membership
    run: EvaluationRun
    question: EvaluationQuestion
    feedback: Feedback

    @property
    def ids(self) -> dict[str, str]:
        return {
            "document": str(self.document.pk),
            "conversation": str(self.conversation.pk),
            "turn": str(self.turn.pk),
            "membership": str(self.membership.pk),
            "key": str(self.key.pk),
            "number": "1",
            "run": str(self.run.pk),
            "question": str(self.question.pk),
            "feedback": str(self.feedback.pk),
        }


def random_ids() -> dict[str, str]:
    """Ids that nobody has."""
    ids = {
        kind: str(uuid.uuid4())
        for kind in ("document", "conversation", "turn", "run", "question", "feedback")
    }
    return {**ids, "membership": "987654", "key": "987654", "number": "1"}


def build(organization: Organization, owner: User, canary: str) -> World:
    """An organisation with a published document, a failed job, a member, a key and an answered question."""
    member = User.objects.create_user(f"member-of-{organization.slug}")
    membership = Membership.objects.create(organization=organization, user=member, role=Role.MEMBER)
    key, key_text = create_key(
        organization=organization, name=canary, scopes=["read", "write"], created_by=owner
    )
    text = f"The secret of this organisation is {canary}."
    file = default_storage.save(f"{organization.pk}/{uuid.uuid4().hex}", ContentFile(text.encode()))
    with tenant_scope(organization):
        collection = Collection.objects.create(name=f"Collection {canary}")
        document = Document.objects.create(
            collection=collection, title=f"Title {canary}", filename=f"{canary}.txt", uploaded_by=owner
        )
        version = DocumentVersion.objects.create(
            document=document,
            file=file,
            sha256="0" * 64,
            size=len(text),
            media_type="text/plain",
            author=canary,
            page_count=1,
            dated=timezone.now().date(),
        )
        Page.objects.create(version=version, number=1, text=text)
        chunk = Chunk.objects.create(
            id=uuid.uuid4(),
            version=version,
            ordinal=0,
            page=1,
            start=0,
            end=len(text),
            text=text,
            embedding=np.ones(384, dtype="<f2").tobytes(),
            embedding_model="all-MiniLM-L6-v2",
        )
        document.published = version
        document.save()
        IngestionJob.objects.create(
            document=document,
            version=version,
            status=IngestionJob.Status.FAILED,
            error_code="malformed",
            error_message=canary,
            attempts=3,
        )
        conversation = Conversation.objects.create(user=owner, title=canary)
        turn = Turn.objects.create(
            conversation=conversation,
            question=f"What is {canary}?",
            answer=f"It is {canary}.",
            status="answered",
        )
        question = EvaluationQuestion.objects.create(question=f"Who has {canary}?", answers=[canary])
        run = EvaluationRun.objects.create(
            suite=canary, status="done", model=canary, metrics={"questions": 1}
        )
        EvaluationResult.objects.create(
            run=run, number=1, key=canary, question=canary, status="answered", answer=canary
        )
        EvaluationCorpus.objects.create(suite=canary)
        feedback = Feedback.objects.create(
            turn=turn,
            helpful=False,
            question=turn.question,
            answer=turn.answer,
            status="answered",
            comment=canary,
        )
    return World(
        organization, owner, canary, document, version, chunk, conversation, turn, key, key_text, membership,
        run, question, feedback,
    )  # fmt: skip
