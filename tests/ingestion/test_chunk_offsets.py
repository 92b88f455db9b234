"""Passages lie exactly where they say, within their limits, and together hold all of the text."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers

from ingestion.blocks import finer, units
from ingestion.chunking import chunk
from ingestion.parsed import Heading, ParsedDocument, ParsedPage
from tests.ingestion.cut_exactly import BYTES, WORDS, assert_cut_exactly

TOKENIZER = WORDS
ALPHABET = st.sampled_from("ab é日𝄞e\u0301.,:|#-`\t\u2028\x85\x1c\n ") | st.characters(
    exclude_categories=["Cs"]
)
TEXT = st.text(ALPHABET, max_size=400)


@st.composite
def documents(draw: st.DrawFn) -> ParsedDocument:
    pages = []
    for number in range(1, draw(st.integers(1, 3)) + 1):
        text = draw(TEXT)
        starts = (
            draw(st.lists(st.integers(0, max(0, len(text) - 1)), max_size=4, unique=True)) if text else []
        )
        headings = tuple(Heading(start, 1 + start % 3, text[start : start + 3]) for start in sorted(starts))
        pages.append(ParsedPage(number, text, headings))
    return ParsedDocument(draw(st.sampled_from(["text/plain", "text/markdown"])), tuple(pages))


@settings(max_examples=150, deadline=None)
@given(documents(), st.sampled_from([WORDS, BYTES]), st.integers(1, 40))
def test_offsets_are_exact_and_nothing_is_lost(
    document: ParsedDocument, tokenizer: Tokenizer, max_tokens: int
) -> None:
    chunks = chunk(document, tokenizer=tokenizer, max_tokens=max_tokens)
    assert_cut_exactly(document, chunks, tokenizer, max_tokens)


@settings(max_examples=50, deadline=None)
@given(documents())
def test_units_lie_end_to_end(document: ParsedDocument) -> None:
    for page in document.pages:
        found = units(page.text, page.headings, markdown=document.media_type == "text/markdown")
        assert "".join(page.text[unit.start : unit.end] for unit in found) == page.text
        assert all(
            "".join(page.text[part.start : part.end] for part in finer(page.text, unit))
            == page.text[unit.start : unit.end]
            for unit in found
        )


def test_a_passage_knows_the_headings_above_it() -> None:
    text = "Guide\n\n" + "intro words " * 20 + "\n\nInstall\n\n" + "plug it in " * 20
    second = text.index("Install")
    page = ParsedPage(1, text, (Heading(0, 1, "Guide"), Heading(second, 2, "Install")))
    after = ParsedPage(2, "It goes on here.")
    chunks = chunk(ParsedDocument("text/plain", (page, after)), tokenizer=TOKENIZER, max_tokens=80)
    assert [passage.headings for passage in chunks] == [
        ("Guide",),
        ("Guide", "Install"),
        ("Guide", "Install"),
    ]


def test_a_word_without_end_is_cut() -> None:
    document = ParsedDocument("text/plain", (ParsedPage(1, "a" * 5000),))
    chunks = chunk(document, tokenizer=TOKENIZER, max_tokens=10)
    assert max(len(passage.text) for passage in chunks) <= 160
    assert "".join(passage.text for passage in chunks) == "a" * 5000


def test_the_caller_hears_of_a_long_page_while_it_is_cut() -> None:
    sentence = "The pump is checked every week. "
    document = ParsedDocument("text/plain", (ParsedPage(1, "Short."), ParsedPage(2, sentence * 4000)))
    heard: list[int] = []
    chunks = chunk(document, tokenizer=TOKENIZER, max_tokens=200, on_progress=heard.append)
    assert heard[:2] == [0, 1]
    assert len(heard) >= 1 + len(document.pages[1].text) / 20_000
    assert all(passage.text.endswith(".") for passage in chunks), "a window ends where a sentence does"
    assert (
        "".join(passage.text for passage in chunks[1:]).replace(" ", "") == sentence.replace(" ", "") * 4000
    )


def test_a_cut_within_a_word_that_makes_more_tokens_of_it_stays_within_the_limit() -> None:
    pieces = Tokenizer(models.WordPiece({"[UNK]": 0, "x": 1, "##xx": 2, "##x": 3}, unk_token="[UNK]"))
    pieces.model.max_input_chars_per_word = 1000
    pieces.pre_tokenizer = pre_tokenizers.Whitespace()
    document = ParsedDocument("text/plain", (ParsedPage(1, "x" * 200),))
    chunks = chunk(document, tokenizer=pieces, max_tokens=4)
    assert_cut_exactly(document, chunks, pieces, 4)
