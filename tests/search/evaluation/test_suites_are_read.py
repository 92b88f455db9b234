"""Suites are read from folders; a line that cannot be used is named; halves and limits choose by ids alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from search.evaluation import suites
from search.evaluation.suites import SuiteError


def write(folder: Path, **files: list[Any]) -> Path:
    """``corpus=[...]`` becomes ``corpus.jsonl``; a text stands for its line as it is."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in files.items():
        lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def judge(folder: Path, *rows: str) -> None:
    (folder / "qrels").mkdir(exist_ok=True)
    (folder / "qrels" / "test.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *rows]) + "\n")


TEXTS = [{"_id": "p1", "title": "One", "text": "First."}, {"_id": "p2", "title": "", "text": "Second."}]


def test_queries_with_judgements_are_questions(tmp_path: Path) -> None:
    write(
        tmp_path, corpus=TEXTS, queries=[{"_id": "q1", "text": "First?"}, {"_id": "q2", "text": "Unjudged?"}]
    )
    judge(tmp_path, "q1\tp1\t1", "q1\tp2\t0")
    suite = suites.read(tmp_path)
    (question,) = suite.questions
    assert (question.id, question.text, dict(question.relevant)) == ("q1", "First?", {"p1": 1})
    assert question.answerable is None
    assert [text.id for text in suite.texts] == ["p1", "p2"]


def test_questions_bring_their_answers(tmp_path: Path) -> None:
    rows = [
        {"id": "a", "question": "What?", "answerable": True, "answers": ["x", "y"], "gold_passages": ["p1"]},
        {"id": "b", "question": "Why?", "answerable": False, "answers": [], "gold_passages": ["p2"]},
    ]
    write(tmp_path, corpus=TEXTS, queries=[], questions=rows)
    judge(tmp_path, "a\tp1\t1")
    a, b = suites.read(tmp_path).questions
    assert (a.answerable, a.answers, a.gold, dict(a.relevant)) == (True, ("x", "y"), ("p1",), {"p1": 1})
    assert (b.answerable, b.answers, b.gold, dict(b.relevant)) == (False, (), ("p2",), {})


def test_conversations_end_with_the_question(tmp_path: Path) -> None:
    turns = [
        {"role": "user", "text": "Which car?"},
        {"role": "agent", "text": "This."},
        {"role": "user", "text": "Its price?"},
    ]
    row = {"id": "c", "turns": turns, "answerability": ["UNDERSPECIFIED"], "gold_passages": ["p1"]}
    write(tmp_path, corpus=TEXTS, queries=[], conversations=[row])
    (question,) = suites.read(tmp_path).questions
    assert (question.text, question.earlier, question.answerable) == ("Its price?", ("Which car?",), None)


@pytest.mark.parametrize("given", ["It costs 9.", ["It costs 9."], ["It costs 9.", ""]])
def test_the_answer_of_a_conversation_is_a_text_or_several(tmp_path: Path, given: Any) -> None:
    turns = [{"role": "user", "text": "Its price?"}]
    row = {"id": "c", "turns": turns, "answerability": ["PARTIAL"], "reference_answer": given}
    (question,) = suites.read(write(tmp_path, corpus=TEXTS, queries=[], conversations=[row])).questions
    assert (question.answerable, question.answers) == (True, ("It costs 9.",))


def test_evidence_in_a_file_counts_pages_from_one(tmp_path: Path) -> None:
    row = {"id": "s", "question": "Sales?", "source_files": ["a.pdf"], "evidence": [{"text": "1", "page": 0}]}
    write(tmp_path, questions=[row])
    (tmp_path / "pdfs").mkdir()
    (tmp_path / "pdfs" / "a.pdf").write_bytes(b"%PDF")
    suite = suites.read(tmp_path)
    assert suite.kind == "files"
    assert suite.questions[0].pages == (("a.pdf", 1),)


def test_spans_keep_the_offsets_of_their_text(tmp_path: Path) -> None:
    write(
        tmp_path,
        questions=[
            {"id": "s", "question": "?", "corpus": "t.md", "references": [{"start_index": 3, "end_index": 7}]}
        ],
    )
    (tmp_path / "corpora").mkdir()
    (tmp_path / "corpora" / "t.md").write_bytes(b"a\r\nbcde")
    suite = suites.read(tmp_path)
    ((_, start, end),) = suite.questions[0].spans
    assert suite.texts[0].text[start:end] == "bcde"


@pytest.mark.parametrize(
    ("name", "line", "says"),
    [
        ("corpus", "{", "corpus.jsonl, line 2: no JSON"),
        ("corpus", "[1]", "corpus.jsonl, line 2: no JSON object"),
        ("corpus", {"title": "x"}, "corpus.jsonl, line 2: '_id' has to be text"),
        ("corpus", {"_id": "i" * 201, "text": ""}, "corpus.jsonl, line 2: an '_id' has at most 200"),
        ("questions", {"id": "b", "question": "?"}, "questions.jsonl, line 2: 'answerable'"),
        ("questions", {"id": "b", "question": "?", "answerable": True}, "line 2: an answerable question"),
        ("questions", {"id": "a", "question": "?", "answerable": False}, "The questions hold 'a' twice"),
        (
            "questions",
            {"id": "b", "question": "?", "answerable": False, "gold_passages": ["no"]},
            "names 'no'",
        ),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path: Path, name: str, line: Any, says: str) -> None:
    files: dict[str, list[Any]] = {
        "corpus": [TEXTS[0]],
        "questions": [{"id": "a", "question": "?", "answerable": False}],
        "queries": [],
    }
    files[name].append(line)
    write(tmp_path, **files)
    with pytest.raises(SuiteError, match=says):
        suites.read(tmp_path)


def test_a_judgement_has_three_cells(tmp_path: Path) -> None:
    write(tmp_path, corpus=TEXTS, queries=[])
    judge(tmp_path, "q1\tp1")
    with pytest.raises(SuiteError, match=r"test\.tsv, line 2"):
        suites.read(tmp_path)


def many(tmp_path: Path) -> suites.Suite:
    rows = [{"id": f"q{n}", "question": "?", "answerable": False} for n in range(200)]
    return suites.read(write(tmp_path, corpus=TEXTS, queries=[], questions=rows))


def test_the_halves_are_apart_and_together_all(tmp_path: Path) -> None:
    suite = many(tmp_path)
    dev, held = ({q.id for q in suites.chosen(suite, split=split).questions} for split in ("dev", "held"))
    assert not dev & held
    assert len(dev | held) == 200
    assert 70 < len(dev) < 130


def test_a_limit_chooses_the_same_ones_whatever_stands_beside_them(tmp_path: Path) -> None:
    suite = many(tmp_path)
    ten = [q.id for q in suites.chosen(suite, limit=10).questions]
    assert len(ten) == 10
    assert ten == [q.id for q in suites.chosen(suites.chosen(suite, limit=50), limit=10).questions]
    assert ten == sorted(ten, key=lambda id: int(id[1:]))


def test_a_name_is_looked_for_below_the_folder_of_suites(tmp_path: Path) -> None:
    folder = write(tmp_path / "home" / "qa" / "small", corpus=TEXTS)
    for name in ("small", "qa/small", str(folder)):
        assert suites.find(name, str(tmp_path / "home")) == folder
    with pytest.raises(SuiteError, match="There is no suite 'small'"):
        suites.find("small", "")


def test_the_fingerprint_changes_with_a_document_and_not_with_a_question(tmp_path: Path) -> None:
    suite = many(tmp_path)
    assert suites.fingerprint(suite) == suites.fingerprint(suites.chosen(suite, limit=3))
    other = many(write(tmp_path / "other", corpus=[]))
    assert suites.fingerprint(suite) == suites.fingerprint(other)
    write(tmp_path, corpus=[TEXTS[0]])
    assert suites.fingerprint(suites.read(tmp_path)) != suites.fingerprint(suite)
