"""Where a question asks for the latest, the newest of documents that are alike comes first."""

from __future__ import annotations

import uuid
from datetime import date
from typing import Any

import pytest

from search.hits import Hit
from search.ranking import by_title_and_phrases
from search.recency import LATEST, asks_for_latest

REPORT = "Net sales of the quarter were higher than a year before."


def hit(dated: date | None, score: float = 1.0, text: str = REPORT) -> Hit:
    own = uuid.uuid4()
    values: dict[str, Any] = {
        "chunk_id": own, "document_id": own, "version_id": own, "collection_id": own, "collection_name": "",
        "title": "", "media_type": "text/plain", "dated": dated, "author": "", "language": "en", "page": 1,
        "start": 0, "end": len(text), "text": text, "headings": (), "label": "", "within": "", "score": score,
        "similarity": 0.0,
    }  # fmt: skip
    return Hit(**values)


OLD, OLDER, NEW = (
    hit(date(2022, 11, 1), 1.1),
    hit(date(2022, 7, 29), 1.2),
    hit(date(2023, 8, 4)),
)
UNDATED = hit(None, 1.05)


@pytest.mark.parametrize(
    "question",
    [
        "What were net sales in the latest report?",
        "What were net sales in the most recent 10-Q?",
        "Wie hoch war der Umsatz im neuesten Bericht?",
    ],
)
def test_the_newest_of_reports_that_are_alike_comes_first(question: str) -> None:
    ordered = by_title_and_phrases(question, [OLDER, OLD, UNDATED, NEW])
    assert [each.dated for each in ordered] == [NEW.dated, OLD.dated, OLDER.dated, None]
    assert ordered[0].score - ordered[-1].score == pytest.approx(LATEST + NEW.score - UNDATED.score)


def test_a_question_for_no_latest_moves_nothing_by_date() -> None:
    ordered = by_title_and_phrases("What were net sales?", [OLDER, OLD, UNDATED, NEW])
    assert [each.dated for each in ordered] == [OLDER.dated, OLD.dated, None, NEW.dated]


def test_a_new_document_about_something_else_stays_behind() -> None:
    other = hit(date(2024, 1, 1), 0.5, "The canteen is closed on Fridays.")
    ordered = by_title_and_phrases("What were net sales in the latest report?", [OLDER, OLD, NEW, other])
    assert ordered[-1].dated == other.dated


def test_one_date_alone_is_not_new() -> None:
    ordered = by_title_and_phrases("the latest net sales", [UNDATED, hit(date(2023, 1, 1))])
    assert ordered[0].dated is None


@pytest.mark.parametrize(
    "question",
    [
        "When is recent enough?",
        "Translate it",
        "due on Friday at the latest",
        "the later report",
        "current assets",
    ],
)
def test_other_words_ask_for_no_latest(question: str) -> None:
    assert not asks_for_latest(question)
