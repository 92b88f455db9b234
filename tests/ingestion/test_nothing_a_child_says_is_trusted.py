"""A child that its file took over may answer anything that is JSON: it becomes a failure of that file, and no row."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from ingestion import child, child_process
from ingestion.guards import IngestionFailure, Limits

PAGE: dict[str, Any] = {"number": 1, "text": "Words.", "headings": [], "label": "", "marks": None}
DOCUMENT: dict[str, Any] = {
    "media_type": "text/plain", "pages": [PAGE], "title": "", "author": "", "created": None, "language": "",
    "pages_without_text": [], "protected": False, "unread": [], "drawn": [],
    "pages_with_hidden_text": [],
}  # fmt: skip
SMALL = Limits(max_pages=3, max_characters=100)


def answered(monkeypatch: pytest.MonkeyPatch, result: Any) -> None:
    monkeypatch.setattr(child, "run", lambda request, limits: result)


def test_what_is_as_it_should_be_is_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    answered(monkeypatch, DOCUMENT)
    assert child.parse_file(tmp_path, filename="a", limits=SMALL).pages[0].text == "Words."


@pytest.mark.parametrize(
    "pages",
    [
        [PAGE | {"number": n} for n in (1, 2, 3, 4)],
        [PAGE | {"text": "x" * 201}],
        [PAGE, PAGE],
        [PAGE | {"number": 0}],
        [PAGE | {"number": 10**12}],
        [PAGE | {"number": math.inf}],
        [PAGE | {"text": None}],
        [PAGE | {"headings": [{"start": math.inf, "level": 1, "text": "x"}]}],
        [PAGE | {"marks": {"unit": "row", "starts": [0, 3], "names": ["1"]}}],
        [PAGE | {"marks": {"unit": "row", "starts": [0], "names": [1]}}],
        [PAGE | {"marks": {"unit": None, "starts": [0], "names": ["1"]}}],
        {"number": 1},
        7,
    ],
    ids=[
        "too many",
        "too long",
        "one twice",
        "zero",
        "a large number",
        "no number",
        "no text",
        "no place",
        "too few marks",
        "a mark without a name",
        "marks of no unit",
        "a mapping",
        "no list",
    ],
)
def test_pages_that_no_parser_gives_are_a_failure(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, pages: Any
) -> None:
    answered(monkeypatch, DOCUMENT | {"pages": pages})
    with pytest.raises(IngestionFailure) as failure:
        child.parse_file(tmp_path, filename="a", limits=SMALL)
    assert failure.value.code == "malformed"


def test_a_place_that_is_no_number_is_a_failure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    answered(monkeypatch, {"page_width": 1, "page_height": 1, "boxes": [[0, 0, math.nan, 1]], "aligned": 1})
    with pytest.raises(IngestionFailure):
        child.find_rectangles(tmp_path, page=1, page_text="", start=0, end=0, limits=SMALL)


def test_a_deep_answer_is_a_failure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def too_deep(text: bytes) -> Any:
        raise RecursionError

    file = tmp_path / "a.txt"
    file.write_text("Words.", encoding="utf-8")
    monkeypatch.setattr(json, "loads", too_deep)
    with pytest.raises(IngestionFailure) as failure:
        child.parse_file(file, filename="a.txt", limits=Limits())
    assert failure.value.code == "malformed"
    assert child_process.death(-9).code == "too_large"
