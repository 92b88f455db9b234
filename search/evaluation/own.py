"""An organisation's own questions: read from a file, kept, and asked of its own documents.

What always holds: a file is kept as a whole or not at all; a line that cannot be used is an error that names it; a
document is named by its title, its file's name, its external id or its id, in the organisation only.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from django.db import transaction

from search.asking import LONGEST_QUESTION
from search.evaluation.models import EvaluationQuestion
from search.evaluation.suites import Suite, SuiteError, SuiteQuestion, text_of, texts_of
from search.models import Document
from tenants.models import Organization
from tenants.scope import tenant_scope

NAME = "own questions"
MOST_QUESTIONS = 2000
LARGEST_FILE = 4_000_000
"""Bytes."""
_YES, _NO = {"true", "yes", "1"}, {"false", "no", "0"}


@dataclass(frozen=True, slots=True)
class OwnQuestion:
    """A question as it stands in a file, with its line for errors."""

    where: str
    question: str
    answerable: bool | None
    answers: tuple[str, ...]
    documents: tuple[str, ...]
    pages: tuple[int, ...]


def read_file(name: str, content: bytes) -> list[OwnQuestion]:
    """The questions of a file of JSON lines or, by its name or first line, CSV. Raises :class:`SuiteError`."""
    if len(content) > LARGEST_FILE:
        raise SuiteError(f"{name} is larger than {LARGEST_FILE // 1_000_000} MB.")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SuiteError(f"{name} is not UTF-8 text.") from error
    if "\x00" in text:
        raise SuiteError(f"{name} is not text.")
    is_json = text.lstrip()[:1] == "{"
    found = [_question(where, row) for where, row in (_json_rows(text) if is_json else _csv_rows(text))]
    if not found:
        raise SuiteError(f"{name} holds no question.")
    if len(found) > MOST_QUESTIONS:
        raise SuiteError(f"{name} holds more than {MOST_QUESTIONS} questions.")
    return found


def add(organization: Organization, questions: Sequence[OwnQuestion], *, replace: bool = False) -> int:
    """Keeps the questions, in the place of all others on ``replace``; returns how many. Raises :class:`SuiteError` where
    one names a document that the organisation does not have."""
    with tenant_scope(organization), transaction.atomic():
        documents = _documents()
        for each in questions:
            for name in each.documents:
                if not documents.get(name.casefold()):
                    raise SuiteError(
                        f"{each.where}: there is no document {name!r}.",
                        hint="Name it as the page of documents does.",
                    )
        if replace:
            EvaluationQuestion.objects.all().delete()
        elif EvaluationQuestion.objects.count() + len(questions) > MOST_QUESTIONS:
            raise SuiteError(
                f"There would be more than {MOST_QUESTIONS} questions.", hint="Replace those that are there."
            )
        EvaluationQuestion.objects.bulk_create(
            EvaluationQuestion(
                organization=organization,
                question=each.question,
                answerable=each.answerable,
                answers=list(each.answers),
                documents=list(each.documents),
                pages=list(each.pages),
            )
            for each in questions
        )
    return len(questions)


def suite_of(organization: Organization, file: Path | None = None) -> Suite:
    """The organisation's questions, or those of a file, as a suite. Raises :class:`SuiteError`."""
    if file is not None:
        given = read_file(file.name, file.read_bytes())
        rows = [(each.where, each) for each in given]
    with tenant_scope(organization):
        documents = _documents()
        if file is None:
            kept = EvaluationQuestion.objects.all()
            rows = [(str(q.id), _kept(q)) for q in kept]
    if not rows:
        raise SuiteError(
            "The organisation has no questions of its own yet.", hint="Upload a file of questions first."
        )
    name = NAME if file is None else file.name
    return Suite(name, "own", tuple(_for_asking(id, each, documents) for id, each in rows))


def titles(organization: Organization) -> dict[UUID, str]:
    """The titles of the organisation's documents."""
    with tenant_scope(organization):
        return dict(Document.objects.values_list("id", "title"))


def kept(organization: Organization) -> list[OwnQuestion]:
    """The organisation's questions."""
    with tenant_scope(organization):
        return [_kept(row) for row in EvaluationQuestion.objects.all()]


def rows(organization: Organization) -> list[EvaluationQuestion]:
    """The organisation's questions as they are kept."""
    with tenant_scope(organization):
        return list(EvaluationQuestion.objects.all())


def row(organization: Organization, question_id: UUID) -> EvaluationQuestion:
    """One of them. Raises ``EvaluationQuestion.DoesNotExist``."""
    with tenant_scope(organization):
        return EvaluationQuestion.objects.get(id=question_id)


def from_form(organization: Organization, form: Mapping[str, str]) -> OwnQuestion:
    """A question from the fields of a form, of which each has a part a line. Raises :class:`SuiteError`."""
    cells = {
        name: form.get(name, "").replace("\r", "").replace("\n", "|")
        for name in ("answers", "documents", "pages")
    }
    cells |= {name: form.get(name, "").strip() for name in ("question", "answerable")}
    given = _question("The form", _from_cells("The form", cells))
    with tenant_scope(organization):
        known = _documents()
    for name in given.documents:
        if not known.get(name.casefold()):
            raise SuiteError(f"There is no document {name!r}.", hint="Name it as the page of documents does.")
    return given


def _kept(row: EvaluationQuestion) -> OwnQuestion:
    return OwnQuestion(
        "", row.question, row.answerable, tuple(row.answers), tuple(row.documents), tuple(row.pages)
    )


def _for_asking(id: str, each: OwnQuestion, documents: Mapping[str, list[UUID]]) -> SuiteQuestion:
    """A document that is gone stays in the question under its name, so that it is not found."""
    gold: list[str] = []
    for name in each.documents:
        gold += [str(i) for i in documents.get(name.casefold(), [])] or [name]
    pages = tuple((document, page) for document in gold for page in each.pages)
    return SuiteQuestion(
        id, each.question, answerable=each.answerable, answers=each.answers,
        relevant=dict.fromkeys(gold, 1), gold=tuple(gold), pages=pages,
    )  # fmt: skip


def _documents() -> dict[str, list[UUID]]:
    """Ids by every name that a document has, folded."""
    found: dict[str, list[UUID]] = {}
    rows = Document.objects.order_by("created_at").values_list("id", "title", "filename", "external_id")
    for id, *names in rows.iterator(2000):
        for name in {str(name).casefold() for name in (id, *names) if name}:
            found.setdefault(name, []).append(id)
    return found


def _json_rows(text: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise SuiteError(f"Line {number}: no JSON ({error}).") from error
        if not isinstance(row, dict):
            raise SuiteError(f"Line {number}: no JSON object.")
        yield f"Line {number}", row


def _csv_rows(text: str) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        reader = csv.DictReader(io.StringIO(text), strict=True)
        names = [name.strip().lower() for name in reader.fieldnames or ()]
        if "question" not in names:
            raise SuiteError("Line 1: a CSV file names its columns, one of them 'question'.")
        reader.fieldnames = names
        for row in reader:
            where = f"Line {reader.line_num}"
            if None in row:
                raise SuiteError(f"{where}: more cells than columns.")
            cells = {name: (value or "").strip() for name, value in row.items()}
            if any(cells.values()):
                yield where, _from_cells(where, cells)
    except csv.Error as error:
        raise SuiteError(f"This is no CSV that can be read: {error}.") from error


def _from_cells(where: str, cells: Mapping[str, str]) -> dict[str, Any]:
    row: dict[str, Any] = {"question": cells["question"]}
    for name in ("answers", "documents"):
        row[name] = _parts(cells.get(name, ""))
    answerable = cells.get("answerable", "").lower()
    if answerable:
        if answerable not in _YES | _NO:
            raise SuiteError(f"{where}: 'answerable' is true or false.")
        row["answerable"] = answerable in _YES
    pages = _parts(cells.get("pages", "").replace(",", "|"))
    if not all(page.isascii() and page.isdigit() and len(page) < 7 for page in pages):
        raise SuiteError(f"{where}: 'pages' are numbers, parted by |.")
    row["pages"] = [int(page) for page in pages]
    return row


def _parts(cell: str) -> list[str]:
    return [part.strip() for part in cell.split("|") if part.strip()]


def _question(where: str, row: Mapping[str, Any]) -> OwnQuestion:
    try:
        json.dumps(row, default=str, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise SuiteError(f"{where}: it holds half of a character.") from error
    question = text_of(where, row, "question").strip()
    if len(question) > LONGEST_QUESTION or "\x00" in json.dumps(row, default=str).replace("\\u0000", "\x00"):
        raise SuiteError(f"{where}: a question has at most {LONGEST_QUESTION} characters, none of them NUL.")
    answers, documents = texts_of(where, row, "answers"), texts_of(where, row, "documents")
    pages, answerable = row.get("pages") or [], row.get("answerable")
    if not isinstance(pages, list) or not all(type(page) is int and 0 < page < 10**6 for page in pages):
        raise SuiteError(f"{where}: 'pages' are whole numbers from 1.")
    if answerable not in (None, True, False):
        raise SuiteError(f"{where}: 'answerable' is true or false.")
    if answerable is None and (answers or documents):
        answerable = True
    if answerable is False and answers:
        raise SuiteError(f"{where}: a question that has answers is answerable.")
    return OwnQuestion(where, question, answerable, answers, documents, tuple(pages))


def export(questions: Iterable[OwnQuestion]) -> str:
    """The questions as JSON lines, which can be read again."""
    rows = (
        {
            "question": q.question, "answerable": q.answerable, "answers": list(q.answers),
            "documents": list(q.documents), "pages": list(q.pages),
        }
        for q in questions
    )  # fmt: skip
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
