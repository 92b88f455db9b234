"""A document without a given title goes by the one that its file has, unless that says nothing."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.files.base import ContentFile

from ingestion import pipeline
from ingestion.titles import usable
from ingestion.uploads import accept_upload
from search.corpus import points_for
from search.models import Chunk, Document
from tenants.models import Organization
from tenants.scope import tenant_scope
from tests.ingestion import factories
from tests.ingestion.ready_for_work import models, storage

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("storage")]
__all__ = ["models", "storage"]


@pytest.mark.parametrize(
    "title",
    [
        "", "  ", "untitled", "Untitled 3", "Unbenannt", "Slide 1", "Folie 12", "PowerPoint Presentation", "Document1",
        "Microsoft Word - x.doc", "Microsoft Word - Final version", "Book1", "New Microsoft Word Document", "report.pdf",
        "C:\\My files\\x.doc", "/tmp/x", "https://example.org/a", "Title", "12", "a1", "\u200b\u202e", "Scan_001",
    ],
)  # fmt: skip
def test_titles_that_say_nothing_are_not_taken(title: str) -> None:
    assert usable(title) == ""


@pytest.mark.parametrize(
    ("title", "shown"),
    [
        ("Travel  and\nexpense policy", "Travel and expense policy"),
        ("Untitled letters of a poet", "Untitled letters of a poet"),
        ("Slide rules", "Slide rules"),
        ("Input/output of the R7", "Input/output of the R7"),
        ("手册", "手册"),
        ("pay\u202efdp", "payfdp"),
        ("x" * 300, "x" * 199 + "…"),
    ],
)
def test_titles_are_shown_as_people_read_them(title: str, shown: str) -> None:
    assert usable(title) == shown


def ingest(organization: Organization, name: str, content: bytes, **more: Any) -> Document:
    user = User.objects.first()
    stream = ContentFile(content, name=name)
    document = accept_upload(organization=organization, user=user, name=name, stream=stream, **more)
    pipeline.work_until_idle()
    with tenant_scope(organization):
        return Document.objects.get(id=document.id)


def test_the_files_title_is_the_documents(acme: Organization, models: Any) -> None:
    document = ingest(acme, "x7.docx", factories.make_docx(title="Leave of absence"))
    assert (document.title, document.filename) == ("Leave of absence", "x7.docx")
    with tenant_scope(acme):
        chunks = list(Chunk.objects.select_related("version__document"))
    assert points_for(chunks)[0].text.startswith("Leave of absence\nx7.docx\n")


def test_a_given_title_stays(acme: Organization, models: Any) -> None:
    document = ingest(acme, "x7.docx", factories.make_docx(title="Leave of absence"), title="Our rules")
    assert (document.title, document.titled_by_file) == ("Our rules", False)


def test_a_title_that_says_nothing_leaves_the_name(acme: Organization, models: Any) -> None:
    document = ingest(acme, "x7.docx", factories.make_docx(title="Microsoft Word - x7.doc"))
    assert document.title == "x7.docx"


def test_the_title_follows_the_next_version_until_a_person_gives_one(acme: Organization, models: Any) -> None:
    def version(own: str, **more: Any) -> Document:
        return ingest(acme, f"{own or 'none'}.docx", factories.make_docx(title=own), external_id="e", **more)

    assert version("First rules").title == "First rules"
    assert version("Second rules").title == "Second rules"
    assert version("").title == "none.docx"
    assert version("Third rules").title == "Third rules"
    assert version("Fourth rules", title="Ours").title == "Ours"
    assert version("Fifth rules").title == "Ours"
