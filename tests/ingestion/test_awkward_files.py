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
