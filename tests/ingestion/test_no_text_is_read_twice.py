"""What is asked of the beginning of any upload, and of any text, takes time in proportion to its length, however it was
made: a few hundred bytes once stopped the whole product, since a regular expression holds the interpreter's lock."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ingestion import blocks
from ingestion.guards import Limits
from ingestion.parsers.markdown import MARKDOWN, parse
from ingestion.sniff import sniff
from search.sentences import sentence_spans

SECONDS = 5.0
"""Far above what each takes (under 0.1 s) and far below what each took (hours, for the first)."""
HEADS = {
    "comments": "<!---->" * 9000 + "x",
    "a comment that does not end": "<!--" * 16000,
    "newlines": "\n" * 64000 + "a",
    "blanks": " " * 64000 + "a",
    "tags that do not end": "<p " * 21000,
    "halves of links": "](" * 32000,
    "open brackets": "[" * 64000,
    "brackets and brackets": "[a](" * 16000,
    "declarations": "?" + "<?xml " * 10000,
}


def seconds(act: Callable[[], object]) -> float:
    began = time.process_time()
    act()
    return time.process_time() - began


@pytest.mark.parametrize("text", HEADS.values(), ids=HEADS)
def test_the_kind_of_a_text_is_told_at_once(text: str, tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_text(text, encoding="utf-8")
    assert seconds(lambda: sniff(file, "noname")) < SECONDS


@pytest.mark.parametrize(
    "text", ["." * 200_000 + "x", "?!" * 100_000 + '"' * 9, ". " * 100_000, '."' * 100_000]
)
def test_stops_are_counted_once(text: str) -> None:
    assert seconds(lambda: sentence_spans(text)) < SECONDS
    assert seconds(lambda: blocks.units(text[:50_000], (), markdown=False)) < SECONDS


def test_a_run_of_stops_still_ends_a_sentence() -> None:
    text = 'Wait... what?! "Yes." He left (at last). V1.2 is out.'
    assert [text[a:b] for a, b in sentence_spans(text)] == [
        "Wait... what?!",
        '"Yes."',
        "He left (at last).",
        "V1.2 is out.",
    ]


def test_a_heading_of_blanks_is_read_at_once(tmp_path: Path) -> None:
    file = tmp_path / "f.md"
    file.write_text("# a" + " " * 20_000 + "b ##\n\n## C#\n", encoding="utf-8")
    began = time.process_time()
    document = parse(file, limits=Limits(), password=None)
    assert time.process_time() - began < SECONDS
    assert [heading.text for heading in document.pages[0].headings] == ["a b", "C#"]
    assert document.media_type == MARKDOWN
