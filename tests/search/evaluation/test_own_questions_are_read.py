"""An organisation's own questions come as JSON lines or CSV, are kept as a whole or not at all, and name its documents only."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from search.evaluation import own
from search.evaluation.models import EvaluationQuestion
from search.evaluation.suites import SuiteError
from search.models import Document
from tenants.models import Organization
from tenants.scope import tenant_scope
from tests.search.doubles import WordEmbedder
from tests.search.library import add_document

pytestmark = pytest.mark.django_db


def line(**row: Any) -> bytes:
    return json.dumps(row).encode() + b"\n"


def test_json_lines_are_read() -> None:
    (found,) = own.read_file(
        "q.jsonl", line(question=" What? ", answers=["x"], documents=["Tariff"], pages=[2])
    )
    assert (found.question, found.answerable, found.answers) == ("What?", True, ("x",))
    assert (found.documents, found.pages) == (("Tariff",), (2,))


def test_csv_is_read_with_parts_between_bars() -> None:
    content = (
        "\ufeffQuestion,answers,answerable,documents,pages\n"
        '"What is it, then?",20 euros|twenty,,Tariff|Other,1|3\n'
        "Who?,,no,,\n"
        ",,,,\n"
        "Open?,,,,\n"
    ).encode()
    first, second, third = own.read_file("q.csv", content)
    assert (first.question, first.answers, first.documents) == (
        "What is it, then?",
        ("20 euros", "twenty"),
        ("Tariff", "Other"),
    )
    assert first.pages == (1, 3)
    assert (second.answerable, third.answerable) == (False, None)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "holds no question|Line 1"),
        (b"\xff\xfe", "not UTF-8"),
        (b"a,b\n1,2\n", "Line 1: a CSV file names its columns"),
        (b"question\nx,y\n", "Line 2: more cells"),
        (b"question,answerable\nx,perhaps\n", "Line 2: 'answerable' is true or false"),
        (b"question,pages\nx,two\n", "Line 2: 'pages' are numbers"),
        ("question,pages\nx,²\n".encode(), "Line 2: 'pages' are numbers"),
        (b"question,pages\nx," + b"9" * 5000 + b"\n", "Line 2: 'pages' are numbers"),
        (b'{"question": "who \\ud800?"}\n', "Line 1: it holds half of a character"),
        (line(question="x") + b"{]\n", "Line 2: no JSON"),
        (line(question=""), "Line 1: 'question' has to be text"),
        (line(question="x" * 4001), "Line 1: a question has at most 4000"),
        (line(question="a\x00b"), "Line 1: a question has at most 4000 characters, none of them NUL"),
        (line(question="x", answers="y"), "Line 1: 'answers' has to be a list"),
        (line(question="x", pages=[0]), "Line 1: 'pages' are whole numbers"),
        (line(question="x", answerable="yes"), "Line 1: 'answerable' is true or false"),
        (line(question="x", answerable=False, answers=["y"]), "a question that has answers is answerable"),
    ],
)
def test_what_cannot_be_used_is_named(content: bytes, says: str) -> None:
    with pytest.raises(SuiteError, match=says):
        own.read_file("q", content)


def test_too_much_is_refused() -> None:
    with pytest.raises(SuiteError, match="larger than"):
        own.read_file("q", b"x" * (own.LARGEST_FILE + 1))
    with pytest.raises(SuiteError, match="more than 2000 questions"):
        own.read_file("q", line(question="x") * (own.MOST_QUESTIONS + 1))


@pytest.fixture
def tariff(acme: Organization) -> str:
    id = add_document(acme, "Tariff", "The monthly tariff is 20 euros.", embedder=WordEmbedder())
    with tenant_scope(acme):
        Document.objects.filter(id=id).update(external_id="crm-7", filename="tariff-2024.pdf")
    return str(id)


@pytest.mark.parametrize("name", ["Tariff", "tariff-2024.PDF", "crm-7", "id"])
def test_a_document_is_named_in_any_way(name: str, acme: Organization, tariff: str) -> None:
    given = own.read_file("q", line(question="x", documents=[tariff if name == "id" else name], pages=[1]))
    assert own.add(acme, given) == 1
    (question,) = own.suite_of(acme).questions
    assert question.gold == (tariff,)
    assert question.pages == ((tariff, 1),)


def test_a_document_of_others_is_none(acme: Organization, globex: Organization, tariff: str) -> None:
    for name in ("Tariff", tariff):
        with pytest.raises(SuiteError, match="Line 1: there is no document"):
            own.add(globex, own.read_file("q", line(question="x", documents=[name])))
    with tenant_scope(globex):
        assert not EvaluationQuestion.objects.exists()


def test_questions_are_added_or_put_in_the_place_of_all(acme: Organization) -> None:
    own.add(acme, own.read_file("q", line(question="a") + line(question="b")))
    own.add(acme, own.read_file("q", line(question="c")))
    assert [q.text for q in own.suite_of(acme).questions] == ["a", "b", "c"]
    own.add(acme, own.read_file("q", line(question="d")), replace=True)
    assert [q.text for q in own.suite_of(acme).questions] == ["d"]


def test_a_document_that_is_gone_is_not_found_and_no_error(acme: Organization, tariff: str) -> None:
    own.add(acme, own.read_file("q", line(question="x", documents=["Tariff"])))
    with tenant_scope(acme):
        Document.objects.all().update(title="Renamed")
    (question,) = own.suite_of(acme).questions
    assert question.gold == ("Tariff",)


def test_what_was_kept_can_be_read_again(acme: Organization, tariff: str, tmp_path: Path) -> None:
    own.add(acme, own.read_file("q", line(question="x", documents=["Tariff"], answers=["20 euros"])))
    file = tmp_path / "q.jsonl"
    file.write_text(own.export(own.kept(acme)))
    assert own.suite_of(acme, file).questions[0].answers == ("20 euros",)


def test_no_questions_are_an_error(acme: Organization) -> None:
    with pytest.raises(SuiteError, match="no questions of its own"):
        own.suite_of(acme)
