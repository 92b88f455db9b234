"""A deleted document leaves no point, row, file or quotation behind (case T10)."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.core.files.storage import default_storage

from search import conversations, corpus
from search.citations import Citation
from search.conflicts import Said
from search.conversations import Asker
from search.events import AnswerCompleted, SourcesFound, UsageCounted
from search.index import open_index
from search.models import Conversation, Document, DocumentVersion, Turn
from search.passages import Source
from tenants.models import Organization
from tenants.scope import tenant_scope
from tests.search.corpus_rows import add_version, document
from tests.search.residue import residue


@pytest.fixture(autouse=True)
def empty_storage(settings: Any, tmp_path: Path) -> None:
    local = {
        "BACKEND": "django.core.files.storage.FileSystemStorage",
        "OPTIONS": {"location": tmp_path / "files"},
    }
    settings.STORAGES = {**settings.STORAGES, "default": local}


def citation(of: Document) -> dict[str, Any]:
    return {"n": 1, "document_id": str(of.id), "title": of.title, "quote": "impeller"}


def test_nothing_is_left_and_others_keep_theirs(acme: Organization) -> None:
    gone = document(acme, "Gone", ["impeller one", "impeller two"])
    add_version(acme, gone, ["impeller three"], publish=False)
    kept = document(acme, "Kept", ["impeller four"])
    with tenant_scope(acme):
        turn = Turn.objects.create(
            organization=acme,
            conversation=Conversation.objects.create(organization=acme),
            question="q?",
            answer="Yes [1].",
            citations=[citation(gone), citation(kept)],
            sources=[citation(gone)],
        )
        files = list(DocumentVersion.objects.filter(document=gone).values_list("file", flat=True))
    before = residue(acme, gone.id)
    assert before == {
        "documents": 1, "versions": 2, "pages": 3, "chunks": 3, "citations": 1, "points": 3, "files": 2,
    }  # fmt: skip

    assert corpus.remove_document(acme, gone.id) is True

    assert set(residue(acme, gone.id).values()) == {0}
    assert not any(default_storage.exists(file) for file in files)
    assert open_index(acme).count() == 1
    with tenant_scope(acme):
        turn.refresh_from_db()
        assert (turn.answer, turn.citations, turn.sources) == ("Yes [1].", [citation(kept)], [])
        assert Document.objects.get().id == kept.id


def test_an_answer_under_way_does_not_bring_a_removed_document_back(acme: Organization) -> None:
    gone, kept = document(acme, "Gone", ["impeller one"]), document(acme, "Kept", ["impeller two"])
    asker = Asker(acme, api_key_id=1)
    turn = conversations.create_turn(asker, question="Which impeller?", filters={})
    some = uuid4()
    sources = SourcesFound(
        tuple(
            Source(n, some, of.id, some, "General", of.title, 1, 0, 8, "impeller", 1.0)
            for n, of in enumerate((gone, kept), 1)
        )
    )
    cited = tuple(
        Citation(s.n, s.document_id, some, some, s.title, 1, 0, 8, "impeller") for s in sources.sources
    )
    corpus.remove_document(acme, gone.id)

    conflict = tuple(Said(f"{citation.n} vanes", citation) for citation in cited)
    end = AnswerCompleted("answered", "impeller [1] [2]", cited, UsageCounted(1, 1), conflicts=(conflict,))
    assert conversations.keep_answer(acme, turn, end, sources) is True

    assert residue(acme, gone.id)["citations"] == 0
    shown = conversations.get_turn(asker, turn.id)
    assert [c["document_id"] for c in shown.citations] == [str(kept.id)]
    assert [s["document_id"] for s in shown.sources] == [str(kept.id)]
    assert shown.conflicts == [], "one side alone is no conflict"


def test_removing_twice_is_removing_once(acme: Organization) -> None:
    gone = document(acme, "Gone", ["impeller"])
    assert corpus.remove_document(acme, gone.id) is True
    assert corpus.remove_document(acme, gone.id) is False


def test_an_interrupted_removal_hides_the_document_and_can_be_repeated(
    acme: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = document(acme, "Gone", ["impeller"])

    def fail(name: str) -> None:
        raise OSError("storage is away")

    with monkeypatch.context() as broken:
        broken.setattr(default_storage, "delete", fail)
        with pytest.raises(OSError, match="away"):
            corpus.remove_document(acme, gone.id)
    with tenant_scope(acme):
        assert Document.objects.get(id=gone.id).published is None
    assert corpus.remove_document(acme, gone.id) is True
    assert set(residue(acme, gone.id).values()) == {0}


def test_another_organisations_document_is_not_removed(acme: Organization, globex: Organization) -> None:
    kept = document(acme, "Kept", ["impeller"])
    assert corpus.remove_document(globex, kept.id) is False
    assert open_index(acme).count() == 1
    with tenant_scope(acme):
        assert Document.objects.filter(id=kept.id, published__isnull=False).exists()


def test_points_of_a_version_go_also_when_its_rows_are_gone(acme: Organization) -> None:
    row = document(acme, "A", ["impeller one", "impeller two"])
    with tenant_scope(acme):
        version_id = DocumentVersion.objects.get(document=row).id
        Document.objects.filter(id=row.id).delete()
    assert open_index(acme).count() == 2
    corpus.unindex_version(acme, version_id)
    assert open_index(acme).count() == 0
