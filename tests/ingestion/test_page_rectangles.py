"""A page is rendered, and a passage is found where it stands on it."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image

from ingestion.child import find_rectangles, parse_file, render_page
from ingestion.guards import IngestionFailure, Limits
from ingestion.pages import align
from tests.ingestion import factories

LINES = "The first line of the page.\nThe second line is longer than it.\nThe third one ends it."


@pytest.fixture
def pdf(tmp_path: Path) -> Path:
    path = tmp_path / "upload"
    path.write_bytes(factories.make_pdf(["cover", LINES]))
    return path


def test_a_page_becomes_a_png_of_its_size(pdf: Path) -> None:
    image = Image.open(io.BytesIO(render_page(pdf, page=2, scale=2, limits=Limits())))
    assert (image.format, image.size) == ("PNG", (1190, 1684))


def test_a_huge_page_is_rendered_smaller(pdf: Path) -> None:
    image = Image.open(io.BytesIO(render_page(pdf, page=1, scale=50, limits=Limits())))
    assert image.size[0] * image.size[1] < 17_000_000


def test_each_line_of_a_passage_has_one_box_where_it_was_drawn(pdf: Path) -> None:
    text = parse_file(pdf, filename="a.pdf", limits=Limits()).pages[1].text
    start, end = text.index("second line"), text.index("ends it")
    found = find_rectangles(pdf, page=2, page_text=text, start=start, end=end, limits=Limits())
    assert found.aligned == 1
    assert (found.page_width, found.page_height) == (595, 842)
    assert len(found.boxes) == 2
    for place, (left, top, right, bottom) in enumerate(found.boxes):
        baseline = 842 - (770 - 16 * (place + 1))
        assert top < baseline < bottom + 1
        assert bottom - top < 20
        assert 71 < left < right < 400
    assert found.boxes[1][0] < found.boxes[0][0]


def test_a_passage_that_is_not_on_the_page_has_no_box(pdf: Path) -> None:
    other = "Completely different words, quite unlike anything drawn."
    found = find_rectangles(pdf, page=2, page_text=other, start=0, end=len(other), limits=Limits())
    assert found.aligned < 0.9
    assert found.boxes == []


def test_a_page_that_does_not_exist_is_a_typed_failure(pdf: Path) -> None:
    with pytest.raises(IngestionFailure):
        render_page(pdf, page=9, scale=1, limits=Limits())


def test_blocks_in_another_order_and_ligatures_are_aligned() -> None:
    ours = "Left column tells of the efficient office. Right column tells of rivers."
    theirs = "Right  column tells of\nrivers. Left column tells of the e\ufb03cient o\ufb03ce."
    places, aligned = align(ours, theirs, 0, ours.index(". Right"))
    assert aligned > 0.95
    assert min(places) >= theirs.index("Left") - 1
