"""Fences, rows and items are cut only where they must be; a table that goes on brings its first row along."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from ingestion.blocks import Kind, units
from ingestion.chunking import chunk
from ingestion.parsed import Heading, ParsedDocument, ParsedPage, TextChunk
from tests.ingestion.cut_exactly import WORDS, assert_cut_exactly, count

WORD = st.sampled_from(["pump", "valve", "Oslo", "1962", "fjord", "of", "is", "x_1", "(see)"])
SENTENCE = st.lists(WORD, min_size=1, max_size=12).map(lambda words: " ".join(words).capitalize() + ".")
PARAGRAPH = st.lists(SENTENCE, min_size=1, max_size=5).map(" ".join)
CODE = st.lists(st.sampled_from(["x = 1", "", "# no heading", "- a | b", "    y. Z"]), max_size=8).map(
    lambda lines: "\n".join(["```python", *lines, "```"])
)
ITEMS = st.lists(SENTENCE, min_size=1, max_size=5).map(lambda all: "\n".join(f"- {one}" for one in all))
TABLE = st.lists(st.lists(WORD, min_size=2, max_size=2), min_size=1, max_size=12).map(
    lambda rows: "\n".join(
        ["| Name | Place |", "| --- | --- |", *(f"| {' | '.join(cells)} |" for cells in rows)]
    )
)


def cut(text: str, max_tokens: int, headings: tuple[Heading, ...] = ()) -> list[TextChunk]:
    document = ParsedDocument("text/markdown", (ParsedPage(1, text, headings),))
    chunks = chunk(document, tokenizer=WORDS, max_tokens=max_tokens)
    assert_cut_exactly(document, chunks, WORDS, max_tokens)
    return chunks


@settings(max_examples=100, deadline=None)
@given(st.lists(PARAGRAPH | CODE | ITEMS | TABLE, min_size=1, max_size=6), st.integers(8, 60))
def test_what_fits_a_passage_is_not_cut(blocks: list[str], max_tokens: int) -> None:
    text = "\n\n".join(blocks)
    chunks = cut(text, max_tokens)
    whole = [block for block in blocks if block.startswith("```")]
    whole += [line for block in blocks if block[0] in "|-" for line in block.split("\n")]
    for part in whole:
        if count(WORDS, part) <= max_tokens and len(part) <= 16 * max_tokens:
            assert any(part in passage.text for passage in chunks), part


def test_a_passage_that_begins_within_a_table_knows_the_first_row() -> None:
    table = ["| Station | Flow |", "| --- | ---: |", *(f"| Oslo {n} | {n}.5 |" for n in range(30))]
    text = "Flows are given in litres.\n\n" + "\n".join(table) + "\n\nThe table ends here."
    chunks = cut(text, 60)
    assert len(chunks) > 3
    begun = [passage for passage in chunks if passage.text.startswith("| Oslo")]
    assert {passage.lead for passage in begun} == {"| Station | Flow |"}
    assert all("Station" not in passage.text for passage in begun), "what is cited is the page's text alone"
    assert all(passage.lead == "" for passage in chunks if passage not in begun)


def test_rows_that_name_their_columns_need_no_first_row() -> None:
    rows = ["Station | Flow", *(f"Station: Oslo {n}; Flow: {n}.5" for n in range(30))]
    document = ParsedDocument("text/csv", (ParsedPage(1, "\n".join(rows)),))
    chunks = chunk(document, tokenizer=WORDS, max_tokens=50)
    assert len(chunks) > 3
    assert {passage.lead for passage in chunks} == {""}
    assert all(passage.text.endswith(".5") for passage in chunks)


def test_a_second_table_has_a_first_row_of_its_own() -> None:
    text = "a | b\n1 | 2\n3 | 4\n\nc | d\n5 | 6\n7 | 8"
    leads = [unit.lead for unit in units(text, (), markdown=False)]
    assert leads == ["", "a | b", "a | b", "", "c | d", "c | d"]


def test_a_heading_stays_with_the_text_below_it() -> None:
    text = "Pumps are checked daily. " * 9 + "\n\nValves\n\n" + "Valves are checked weekly. " * 9
    start = text.index("Valves")
    for max_tokens in range(20, 60):
        chunks = cut(text, max_tokens, (Heading(start, 1, "Valves"),))
        assert not any(passage.text.endswith("Valves") for passage in chunks)


def test_a_line_end_within_a_sentence_is_no_place_for_a_cut() -> None:
    sentence = "The pump of the lower\nstation is checked by\nthe operator every week."
    chunks = cut(" ".join([sentence] * 12), 50)
    assert len(chunks) > 2
    assert all(passage.text.endswith("week.") for passage in chunks)


def test_passages_come_out_about_equally_long() -> None:
    chunks = cut("The pump is checked every week. " * 30, 100)  # 210 tokens
    sizes = [count(WORDS, passage.text) for passage in chunks]
    assert sizes == [70, 70, 70]


def test_a_fence_is_one_only_in_markdown() -> None:
    text = "```\nx = 1\n\ny = 2\n```\nThe end."
    assert [unit.kind for unit in units(text, (), markdown=True)] == [Kind.CODE, Kind.PROSE]
    assert Kind.CODE not in {unit.kind for unit in units(text, (), markdown=False)}
