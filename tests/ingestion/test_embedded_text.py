"""What is embedded of a passage has its context before it; what is cited is the passage alone."""

from __future__ import annotations

from ingestion.parsed import TextChunk
from ingestion.pipeline import LONGEST_PATH, embedding_text


def test_title_headings_and_first_row_come_before_the_passage() -> None:
    passage = TextChunk(3, 1, 90, 103, "| Oslo | 4 |", ("Manual", "Flows"), "| Station | Flow |")
    assert embedding_text("Manual", passage) == "Manual > Flows\n| Station | Flow |\n| Oslo | 4 |"


def test_a_long_path_leaves_room_for_the_passage() -> None:
    headings = tuple(f"{n} {'very long heading ' * 15}end {n}" for n in range(4))
    path, text = embedding_text("Manual", TextChunk(0, 1, 0, 5, "Text.", headings)).split("\n")
    assert text == "Text."
    assert len(path) == LONGEST_PATH
    assert path.startswith("Manual > 0 very long")
    assert path.endswith("heading end 3")
