"""What is asked: suites of questions with known answers, read from a folder or a file.

What always holds: nothing here touches the database; a line that cannot be used is an error that names file and line;
the same folder gives the same questions in the same order, and ``split`` and ``limit`` choose by hashes of the ids, so
that another machine chooses the same.

Folders have BEIR's layout (``corpus.jsonl``, ``queries.jsonl``, ``qrels/test.tsv``), to which ``questions.jsonl`` adds
answers and ``conversations.jsonl`` the turns before a question; or ``questions.jsonl`` beside ``pdfs/`` or ``corpora/``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

Kind = Literal["passages", "files", "own"]
Split = Literal["all", "dev", "held"]
LONGEST_ID = 200
Row = tuple[str, dict[str, Any]]
"""Where a line stands, for errors, and what it says."""


class SuiteError(Exception):
    """A suite that cannot be read, with a hint what to do."""

    code = "suite"

    def __init__(self, message: str, *, hint: str = "docs/evaluation.md describes the formats.") -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(frozen=True, slots=True)
class CorpusText:
    """A document of a suite, of one page."""

    id: str
    title: str
    text: str
    media_type: str = "text/plain"


@dataclass(frozen=True, slots=True)
class SuiteQuestion:
    """A question. ``answerable`` None: not to be judged. Documents are named by their ids in the suite."""

    id: str
    text: str
    earlier: tuple[str, ...] = ()
    """The questions before it in its conversation, oldest first."""
    answerable: bool | None = None
    answers: tuple[str, ...] = ()
    relevant: Mapping[str, int] = field(default_factory=dict)
    """Judged documents, for the ranking."""
    gold: tuple[str, ...] = ()
    """Documents that hold the answer or, for one that has none, are about the question."""
    pages: tuple[tuple[str, int], ...] = ()
    """Document and page, from 1, where the answer stands."""
    spans: tuple[tuple[str, int, int], ...] = ()
    """Document and code points of its one page that answer the question."""
    derived_pages: tuple[tuple[str, int], ...] = ()
    """The same, where nobody has said it: see :mod:`search.evaluation.derived`."""


@dataclass(frozen=True, slots=True)
class Suite:
    """Questions and the documents of which they are asked; ``own``: those of an organisation."""

    name: str
    kind: Kind
    questions: tuple[SuiteQuestion, ...]
    texts: tuple[CorpusText, ...] = ()
    files: tuple[Path, ...] = ()


def find(name: str, home: str) -> Path:
    """The folder or file of a suite: a path, or a name below ``home``. Raises :class:`SuiteError`."""
    given = Path(name)
    if given.exists():
        return given.resolve()
    if home:
        top = Path(home)
        for found in (top / name, *sorted(top.glob(f"*/{given.name}"))):
            if found.exists() and found.as_posix().endswith(given.as_posix()):
                return found.resolve()
    raise SuiteError(
        f"There is no suite {name!r}.",
        hint="Give a folder or a file, or set TESSERA_EVALUATION_FOLDER to the folder of named suites.",
    )


def read(path: Path) -> Suite:
    """The suite in a folder. Raises :class:`SuiteError`, with the line that is wrong."""
    if (path / "corpus.jsonl").is_file():
        questions = _conversations(path) or _answers(path) or _queries(path)
        return _checked(Suite(path.name, "passages", tuple(questions), texts=tuple(_corpus(path))))
    if (path / "pdfs").is_dir():
        files = tuple(sorted(file for file in (path / "pdfs").iterdir() if file.is_file()))
        return _checked(Suite(path.name, "files", tuple(_about_files(path, files)), files=files))
    if (path / "corpora").is_dir():
        return _checked(
            Suite(path.name, "passages", tuple(_with_spans(path)), texts=tuple(_whole_texts(path)))
        )
    raise SuiteError(f"{path} holds no corpus.jsonl, no pdfs/ and no corpora/.")


def chosen(suite: Suite, *, split: Split = "all", limit: int = 0) -> Suite:
    """The suite with the questions of one half, and ``limit`` of them at most, in their order."""
    questions = [q for q in suite.questions if split == "all" or half(q.id) == split]
    if 0 < limit < len(questions):
        taken = {q.id for q in sorted(questions, key=lambda q: _hash(f"limit:{q.id}"))[:limit]}
        questions = [q for q in questions if q.id in taken]
    return replace(suite, questions=tuple(questions))


def half(question_id: str) -> Split:
    """``dev`` to tune on, ``held`` to report: told from the id alone."""
    return "held" if int(_hash(question_id), 16) % 2 else "dev"


def fingerprint(suite: Suite) -> str:
    """SHA-256 of the documents of a suite."""
    whole = hashlib.sha256()
    for text in suite.texts:
        whole.update("\0".join((text.id, text.title, text.media_type, text.text, "")).encode())
    for file in suite.files:
        whole.update(file.name.encode() + hashlib.sha256(file.read_bytes()).digest())
    return whole.hexdigest()


def json_lines(file: Path) -> Iterator[Row]:
    """The objects of a file of JSON lines. Raises :class:`SuiteError`."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SuiteError(f"{file} cannot be read: {error}.") from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise SuiteError(f"{file.name}, line {number}: no JSON ({error}).") from error
        if not isinstance(row, dict):
            raise SuiteError(f"{file.name}, line {number}: no JSON object.")
        yield f"{file.name}, line {number}", row


def text_of(where: str, row: Mapping[str, Any], name: str, *, required: bool = True) -> str:
    """A field that is text. Raises :class:`SuiteError`."""
    value = row.get(name, "" if not required else None)
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or (required and not value.strip()):
        raise SuiteError(f"{where}: {name!r} has to be text.")
    return value


def texts_of(where: str, row: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """A field that is a list of texts, empty where it is missing. Raises :class:`SuiteError`."""
    value = row.get(name) or []
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise SuiteError(f"{where}: {name!r} has to be a list of texts.")
    return tuple(value)


def _corpus(folder: Path) -> Iterator[CorpusText]:
    for where, row in json_lines(folder / "corpus.jsonl"):
        if len(text_of(where, row, "_id")) > LONGEST_ID:
            raise SuiteError(f"{where}: an '_id' has at most {LONGEST_ID} characters.")
        title = text_of(where, row, "title", required=False)
        yield CorpusText(text_of(where, row, "_id"), title, text_of(where, row, "text", required=False))


def _judgements(folder: Path) -> dict[str, dict[str, int]]:
    file = folder / "qrels" / "test.tsv"
    judged: dict[str, dict[str, int]] = {}
    if not file.is_file():
        return judged
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        cells = line.split("\t")
        if number == 1 or not line.strip():
            continue
        if len(cells) != 3 or not cells[2].strip().lstrip("-").isdigit():
            raise SuiteError(
                f"test.tsv, line {number}: a query, a passage and a whole number, parted by tabs."
            )
        if int(cells[2]) > 0:
            judged.setdefault(cells[0], {})[cells[1]] = int(cells[2])
    return judged


def _queries(folder: Path) -> Iterator[SuiteQuestion]:
    judged = _judgements(folder)
    if not judged:
        raise SuiteError(f"{folder} holds no judgement in qrels/test.tsv.")
    for where, row in json_lines(folder / "queries.jsonl"):
        id = text_of(where, row, "_id")
        if id in judged:
            gold = tuple(judged[id])
            yield SuiteQuestion(id, text_of(where, row, "text"), relevant=judged[id], gold=gold)


def _answers(folder: Path) -> list[SuiteQuestion]:
    if not (folder / "questions.jsonl").is_file():
        return []
    judged, found = _judgements(folder), []
    for where, row in json_lines(folder / "questions.jsonl"):
        id = text_of(where, row, "id")
        if not isinstance(row.get("answerable"), bool):
            raise SuiteError(f"{where}: 'answerable' has to be true or false.")
        answers = texts_of(where, row, "answers")
        if row["answerable"] and not answers:
            raise SuiteError(f"{where}: an answerable question has 'answers'.")
        question = text_of(where, row, "question")
        gold, relevant = texts_of(where, row, "gold_passages"), judged.get(id, {})
        found.append(SuiteQuestion(id, question, (), row["answerable"], answers, relevant, gold))
    return found


_ANSWERABILITY = {"ANSWERABLE": True, "PARTIAL": True, "UNANSWERABLE": False, "UNDERSPECIFIED": None}


def _conversations(folder: Path) -> list[SuiteQuestion]:
    if not (folder / "conversations.jsonl").is_file():
        return []
    judged, found = _judgements(folder), []
    for where, row in json_lines(folder / "conversations.jsonl"):
        id, turns = text_of(where, row, "id"), row.get("turns")
        if not isinstance(turns, list) or not turns or not all(isinstance(turn, dict) for turn in turns):
            raise SuiteError(f"{where}: 'turns' has to be a list of turns.")
        asked = [text_of(where, turn, "text") for turn in turns if turn.get("role") == "user"]
        if not asked or turns[-1].get("role") != "user":
            raise SuiteError(f"{where}: the last turn has to be the user's.")
        kinds = row.get("answerability")
        kind = (kinds[0] if kinds else "UNDERSPECIFIED") if isinstance(kinds, list) else kinds
        if kind not in _ANSWERABILITY:
            raise SuiteError(f"{where}: 'answerability' is one of {', '.join(_ANSWERABILITY)}.")
        answerable = _ANSWERABILITY[kind]
        answers = _reference_answers(where, row) if answerable else ()
        gold = texts_of(where, row, "gold_passages")
        earlier, relevant = tuple(asked[:-1]), judged.get(id, {})
        found.append(SuiteQuestion(id, asked[-1], earlier, answerable, answers, relevant, gold))
    return found


def _reference_answers(where: str, row: Mapping[str, Any]) -> tuple[str, ...]:
    """One text, or a list of them; none where it is missing or empty."""
    given = row.get("reference_answer")
    texts = given if isinstance(given, list) else [given or ""]
    return tuple(text for text in texts_of(where, {"reference_answer": texts}, "reference_answer") if text)


def _about_files(folder: Path, files: Iterable[Path]) -> Iterator[SuiteQuestion]:
    known = {file.name for file in files}
    for where, row in json_lines(folder / "questions.jsonl"):
        sources = texts_of(where, row, "source_files")
        missing = [name for name in sources if name not in known]
        if missing or not sources:
            raise SuiteError(
                f"{where}: 'source_files' names {missing or 'nothing'}, which pdfs/ does not hold."
            )
        answers = _reference_answers(where, row)
        yield SuiteQuestion(
            text_of(where, row, "id"), text_of(where, row, "question"), answerable=True,
            answers=answers, relevant=dict.fromkeys(sources, 1), gold=sources,
            pages=tuple(_evidence(where, row, sources)),
        )  # fmt: skip


def _evidence(where: str, row: Mapping[str, Any], sources: tuple[str, ...]) -> Iterator[tuple[str, int]]:
    """Pages count from 0 in the file and from 1 in the product."""
    given = row.get("evidence") or []
    for piece in given if isinstance(given, list) else [given]:
        if not isinstance(piece, dict) or not isinstance(piece.get("page"), int):
            raise SuiteError(f"{where}: each 'evidence' has a 'page', a whole number from 0.")
        named = piece.get("source_file") or piece.get("file") or piece.get("document")
        if named is not None and named not in sources:
            raise SuiteError(f"{where}: 'evidence' names {named!r}, which 'source_files' does not.")
        for source in (named,) if named is not None else sources:
            yield source, piece["page"] + 1


def _whole_texts(folder: Path) -> Iterator[CorpusText]:
    for file in sorted((folder / "corpora").iterdir()):
        kind = "text/markdown" if file.suffix == ".md" else "text/plain"
        with file.open(encoding="utf-8", newline="") as text:  # offsets count what is there
            yield CorpusText(file.name, file.stem.replace("_", " "), text.read(), kind)


def _with_spans(folder: Path) -> Iterator[SuiteQuestion]:
    for where, row in json_lines(folder / "questions.jsonl"):
        corpus, pieces = text_of(where, row, "corpus"), row.get("references")
        if not isinstance(pieces, list) or not pieces:
            raise SuiteError(f"{where}: 'references' has to be a list.")
        try:
            spans = tuple((corpus, int(p["start_index"]), int(p["end_index"])) for p in pieces)
        except (KeyError, TypeError, ValueError) as error:
            raise SuiteError(f"{where}: a reference has 'start_index' and 'end_index'.") from error
        yield SuiteQuestion(
            text_of(where, row, "id"), text_of(where, row, "question"), gold=(corpus,), spans=spans
        )


def _checked(suite: Suite) -> Suite:
    _refuse_twice("The corpus", (text.id for text in suite.texts))
    _refuse_twice("The questions", (question.id for question in suite.questions))
    known = {text.id for text in suite.texts} | {file.name for file in suite.files}
    for question in suite.questions:
        for id in (*question.relevant, *question.gold, *(span[0] for span in question.spans)):
            if id not in known:
                raise SuiteError(f"Question {question.id!r} names {id!r}, which the corpus does not hold.")
    return suite


def _refuse_twice(what: str, ids: Iterable[str]) -> None:
    seen: set[str] = set()
    for id in ids:
        if id in seen:
            raise SuiteError(f"{what} hold {id!r} twice.")
        seen.add(id)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
