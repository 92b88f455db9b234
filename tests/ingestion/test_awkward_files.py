"""Files that broke other parsers end as expected of each: ready with their words, exactly cut, or a fitting code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ingestion.child import parse_file
from ingestion.chunking import chunk
from ingestion.guards import IngestionFailure, Limits
from tests.ingestion.cut_exactly import WORDS, assert_cut_exactly

FOLDER = Path(__file__).resolve().parents[2].parent / "shared" / "eval"
CASES: list[dict[str, Any]] = (
    json.loads((FOLDER / "files.expect.json").read_text()) if (FOLDER / "files.expect.json").exists() else []
)


PROTECTED = [case for case in CASES if case["password"] and case["must_contain"]]


@pytest.mark.parametrize("case", CASES, ids=[case["file"] for case in CASES])
def test_ends_as_expected(case: dict[str, Any]) -> None:
    statuses, codes = case["expect"]["status"], case["expect"]["codes"]
    failure: IngestionFailure | None = None
    try:
        document = parse_file(FOLDER / "files" / case["file"], filename=case["file"], limits=Limits())
    except IngestionFailure as error:
        failure = error
    if failure is not None:
        assert "failed" in statuses, f"failed as {failure.code}"
        assert failure.code in codes
        assert str(failure).endswith(".")
        assert failure.remedy.endswith(".")
        return
    assert "ready" in statuses
    text = "\n".join(page.text for page in document.pages)
    assert [word for word in case["must_contain"] if word not in text] == []
    assert_cut_exactly(document, chunk(document, tokenizer=WORDS, max_tokens=100), WORDS, 100)


@pytest.mark.parametrize("case", PROTECTED, ids=[case["file"] for case in PROTECTED])
def test_opens_with_its_password(case: dict[str, Any]) -> None:
    path = FOLDER / "files" / case["file"]
    document = parse_file(path, filename=case["file"], limits=Limits(), password=case["password"])
    text = "\n".join(page.text for page in document.pages)
    assert [word for word in case["must_contain"] if word not in text] == []
    assert_cut_exactly(document, chunk(document, tokenizer=WORDS, max_tokens=100), WORDS, 100)
    if "failed" not in case["expect"]["status"]:
        return  # anybody may read it
    assert document.protected
    with pytest.raises(IngestionFailure, match="did not open") as failure:
        parse_file(path, filename=case["file"], limits=Limits(), password=case["password"] + "?")
    assert failure.value.code == "encrypted"


@pytest.mark.skipif(not CASES, reason="the files are not there")
def test_word_files_open_with_their_password_or_say_what_to_do() -> None:
    path = FOLDER / "files" / "bug53475-password-is-pass.docx"
    document = parse_file(path, filename=path.name, limits=Limits(), password="pass")
    assert document.protected
    assert document.pages[0].text.strip()
    old = FOLDER / "files" / "PasswordProtected.doc"
    with pytest.raises(IngestionFailure) as failure:
        parse_file(old, filename=old.name, limits=Limits(), password="password")
    assert failure.value.code == "unsupported"
    assert "docx" in failure.value.remedy
