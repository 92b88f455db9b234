"""A passage of a table or of JSON knows the rows, items or paths that it holds, as a reader of the file counts them."""

from __future__ import annotations

import json
from pathlib import Path

import openpyxl
from hypothesis import given, settings
from hypothesis import strategies as st

from ingestion.chunking import chunk
from ingestion.parsed import Marks, ParsedDocument
from tests.ingestion.cut_exactly import WORDS, assert_cut_exactly
from tests.ingestion.test_parse_formats import read


def places(document: ParsedDocument, max_tokens: int = 20) -> list[tuple[str, str]]:
    """Text and place of each passage."""
    chunks = chunk(document, tokenizer=WORDS, max_tokens=max_tokens)
    assert_cut_exactly(document, chunks, WORDS, max_tokens)
    return [(each.text, each.place) for each in chunks]


def test_rows_of_csv_are_numbered_with_their_header(tmp_path: Path) -> None:
    rows = "".join(f"{n},City number {n}\n" for n in range(2, 40))
    found = places(read(tmp_path, "cities.csv", "row,name\n" + rows))
    assert len(found) > 3
    assert found[0][1].startswith("rows 1–")
    for text, place in found:
        numbers = [int(line.split(";")[0].removeprefix("row: ")) for line in text.splitlines() if ";" in line]
        said = [int(number) for number in place.removeprefix("rows ").removeprefix("row ").split("–")]
        assert [max(2, said[0]), said[-1]] == [numbers[0], numbers[-1]]


def test_empty_rows_and_rows_of_several_lines_count_once(tmp_path: Path) -> None:
    document = read(tmp_path, "a.csv", 'name,text\n\n\nAda,"two\nlines"\n,\nBob,last\n')
    page = document.pages[0]
    assert page.marks is not None
    assert [(page.text[start : start + 9], name) for start, name in zip(page.marks.starts, page.marks.names, strict=True)] == [
        ("name | te", "1"), ("name: Ada", "4"), ("name: Bob", "6"),
    ]  # fmt: skip
    assert places(document, 100) == [(page.text, "rows 1–6")]


def test_tab_separated_values_too(tmp_path: Path) -> None:
    document = read(tmp_path, "a.tsv", "city\tpeople\nOslo\t700000\nRome\t2800000\n")
    assert [place for _, place in places(document, 100)] == ["rows 1–3"]


def test_rows_of_a_sheet_are_those_of_the_program(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.title = "Prices"
    sheet["B3"], sheet["C3"] = "Part", "Price"
    sheet["B5"], sheet["C5"] = "Valve", 12
    sheet["B9"], sheet["C9"] = "Pump", 80
    book.save(tmp_path / "prices.xlsx")
    document = read(tmp_path, "prices.xlsx", (tmp_path / "prices.xlsx").read_bytes())
    assert [place for _, place in places(document, 100)] == ["rows 3–9"]
    assert places(document, 8)[-1] == ("Part: Pump; Price: 80", "row 9")


def test_items_of_a_list_and_lines_are_numbered(tmp_path: Path) -> None:
    people = [{"name": f"Person {n}", "note": "kind and\n\ncalm"} for n in range(1, 7)]
    listed = places(read(tmp_path, "people.json", json.dumps(people)), 12)
    assert listed[0][1] in ("item 1", "items 1–2")
    assert listed[-1][1].endswith("6")
    lines = "\n\n".join(map(json.dumps, people))
    assert places(read(tmp_path, "people.jsonl", lines), 1000)[0][1] == "lines 1–11"


def test_an_object_has_paths(tmp_path: Path) -> None:
    value = {
        "name": "Depot",
        "servers": [{"host": f"host-{n}", "net": {"port": n, "mask": 8}} for n in range(1, 4)],
        "deep": {"er": {"still": {"more": "here"}}},
    }
    found = places(read(tmp_path, "depot.json", json.dumps(value)), 7)
    assert found[0][1] == "from name to servers[1].host"
    assert found[-1][1].endswith("deep.er.still")
    assert (
        places(read(tmp_path, "one.json", json.dumps({"servers": [{"host": "x"}]})))[0][1]
        == "at servers[1].host"
    )


def test_broken_json_has_none(tmp_path: Path) -> None:
    assert places(read(tmp_path, "people.json", '{"name": "Ada", // the first\n'))[0][1] == ""


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 30)), min_size=1, max_size=30), st.data())
def test_a_stretch_is_named_by_the_rows_that_it_touches(
    rows: list[tuple[int, int]], data: st.DataObject
) -> None:
    """``rows``: how many empty ones come before each, and how many characters it has."""
    starts, numbers, at, number = [], [], 0, 0
    for empty, length in rows:
        number += empty + 1
        starts.append(at)
        numbers.append(number)
        at += length + 1
    marks = Marks("row", tuple(starts), tuple(map(str, numbers)))
    start = data.draw(st.integers(0, at - 1))
    end = data.draw(st.integers(start + 1, at))
    touched = [
        n
        for n, first, (_, length) in zip(numbers, starts, rows, strict=True)
        if first < end and start < first + length + 1
    ]
    said = marks.between(start, end)
    assert said == (f"row {touched[0]}" if len(touched) == 1 else f"rows {touched[0]}–{touched[-1]}")
