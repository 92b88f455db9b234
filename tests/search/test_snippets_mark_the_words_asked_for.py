"""A snippet shows the part of a passage that answers, with the words of the question marked."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from search.snippets import snippet


def marked(text: str, query: str, length: int = 240) -> list[str]:
    return [piece for piece, is_term in snippet(text, query, length) if is_term]


def test_words_are_marked_by_their_stem_and_in_any_case() -> None:
    assert marked("Foxes RUN; the fox ran.", "running fox") == ["Foxes", "RUN", "fox"]


def test_stop_words_are_not_marked() -> None:
    assert marked("The pump of the plant", "what is the pump") == ["pump"]


def test_the_pieces_are_the_text_with_single_blanks() -> None:
    pieces = snippet("  A pump\n\nturns \t slowly ", "pump")
    assert pieces == [("A ", False), ("pump", True), (" turns slowly", False)]


def test_a_long_text_is_cut_around_the_words() -> None:
    text = "filler " * 200 + "the impeller turns at 1450 rpm " + "padding " * 200
    pieces = snippet(text, "impeller rpm", 100)
    whole = "".join(piece for piece, _ in pieces)
    assert "impeller turns at 1450 rpm" in whole
    assert whole.startswith("…")
    assert whole.endswith("…")
    assert len(whole) <= 102


def test_the_window_with_more_different_words_wins() -> None:
    text = "pump pump pump " + "filler " * 100 + "pump valve " + "filler " * 100
    assert marked(text, "pump valve", 60) == ["pump", "valve"]


def test_without_a_match_the_beginning_is_shown() -> None:
    pieces = snippet("word " * 100, "zebra", 50)
    assert len(pieces) == 1
    assert pieces[0][0].startswith("word word")
    assert pieces[0][0].endswith("…")
    assert not pieces[0][1]


def test_markup_stays_text() -> None:
    assert ("<b>", False) in [(piece.strip(), is_term) for piece, is_term in snippet("<b>pump", "pump")]


def test_nothing_gives_nothing() -> None:
    assert snippet("", "pump") == []
    assert snippet("   ", "") == []


@given(text=st.text(max_size=600), query=st.text(max_size=60), length=st.integers(40, 300))
def test_any_text_gives_pieces_of_itself_within_the_length(text: str, query: str, length: int) -> None:
    pieces = snippet(text, query, length)
    whole = "".join(piece for piece, _ in pieces)
    plain = " ".join(text.split())
    assert len(whole) <= length + 2
    assert all(piece for piece, _ in pieces)
    assert whole.removeprefix("…").removesuffix("…").strip() in plain or whole in plain
