"""Every format gives its text, its headings at their offsets, and the facts about the file."""

from __future__ import annotations

import io
from datetime import date
from pathlib import Path

import pytest
from pypdf import PdfReader, PdfWriter
from pypdf.constants import PageLabelStyle

from ingestion.child import parse_file
from ingestion.guards import IngestionFailure, Limits
from ingestion.parsed import ParsedDocument
from tests.ingestion import factories


def read(tmp_path: Path, name: str, data: bytes | str) -> ParsedDocument:
    path = tmp_path / "upload"
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    document = parse_file(path, filename=name, limits=Limits())
    for page in document.pages:
        for heading in page.headings:
            assert page.text[heading.start :].lstrip("# ").startswith(heading.text)
    return document


def test_pdf_keeps_pages_outline_and_metadata(tmp_path: Path) -> None:
    data = factories.make_pdf(
        ["Travel rules\nBook trains early.", "", "Meals\nKeep the receipts."],
        title="Rules",
        author="Alice",
        outline=True,
    )
    document = read(tmp_path, "rules.pdf", data)
    assert [page.number for page in document.pages] == [1, 2, 3]
    assert document.pages_without_text == (2,)
    assert (document.title, document.author) == ("Rules", "Alice")
    assert [heading.text for page in document.pages for heading in page.headings] == ["Travel rules", "Meals"]
    assert document.created is not None


def test_docx_keeps_headings_lists_and_rows_with_their_header(tmp_path: Path) -> None:
    document = read(tmp_path, "leave.docx", factories.make_docx(title="Leave", author="Bob"))
    (page,) = document.pages
    assert page.text == (
        "Leave policy\n\nEvery employee has thirty days of leave in a year.\n"
        "- Ask your manager first.\n\nGrade | Days\nGrade: Senior; Days: 35"
    )
    assert [(heading.text, heading.level) for heading in page.headings] == [("Leave policy", 1)]
    assert (document.title, document.author, document.language) == ("Leave", "Bob", "en")


def test_pptx_makes_a_page_of_every_slide(tmp_path: Path) -> None:
    document = read(tmp_path, "deck.pptx", factories.make_pptx())
    assert [page.label for page in document.pages] == ["Slide 1", "Slide 2"]
    assert document.pages[0].text == (
        "Quarterly result\n\nRevenue grew by nine percent.\n\nNotes: Mention the new office."
    )
    assert document.pages[1].headings[0].text == "Questions"


def test_xlsx_makes_a_page_of_every_sheet(tmp_path: Path) -> None:
    document = read(tmp_path, "budget.xlsx", factories.make_xlsx())
    assert document.pages[0].label == "Sheet Budget"
    assert document.pages_without_text == (2,)
    assert document.pages[0].text == (
        "Budget\n\nCity | Amount\nCity: Oslo; Amount: 1200\nCity: Rome; Amount: 7.5"
    )


def test_html_keeps_what_a_person_sees(tmp_path: Path) -> None:
    source = (
        '<!doctype html><html lang="en"><head><title>Guide</title><meta name="author" content="Carol">'
        '<meta name="date" content="2024-03-01"><style>p{}</style></head><body><h2>Start <b>here</b></h2>'
        "<script>alert(1)</script><p>Plug in the <i>red</i> cable.<br>Wait.</p><p hidden>secret</p>"
        '<div style="display: none">unseen</div><ul><li>one</li><li>two</li></ul>'
        "<table><tr><th>Port</th><th>Use</th></tr><tr><td>443</td><td>web</td></tr></table>after</body></html>"
    )
    document = read(tmp_path, "guide.html", source)
    assert document.pages[0].text == (
        "Start here\n\nPlug in the red cable.\nWait.\n- one\n- two\n\n"
        "Port | Use\nPort: 443; Use: web\n\nafter"
    )
    assert (document.title, document.author, document.created) == ("Guide", "Carol", date(2024, 3, 1))
    assert document.pages[0].headings[0].level == 2


def test_words_of_a_cell_stay_apart(tmp_path: Path) -> None:
    source = (
        "<html><body><table><tr><td>Oslo<br>Norway</td><td><div>cold</div><div>rainy</div></td></tr>"
        "<tr><td><ul><li>Rome</li><li>Milan</li></ul></td><td><p>warm</p>dry</td></tr></table></body></html>"
    )
    document = read(tmp_path, "weather.html", source)
    assert document.pages[0].text == "Oslo Norway | cold rainy\nOslo Norway: Rome Milan; cold rainy: warm dry"


def test_markdown_finds_headings_outside_of_code(tmp_path: Path) -> None:
    source = (
        "---\ntitle: Handbook\ndate: 2023-05-06\n---\n# One\n\ntext\n\n```\n# not a heading\n```\n\n"
        "Two\n---\n\nmore\n"
    )
    document = read(tmp_path, "handbook.md", source)
    assert [(heading.text, heading.level) for heading in document.pages[0].headings] == [
        ("One", 1),
        ("Two", 2),
    ]
    assert document.pages[0].text == source
    assert (document.title, document.created) == ("Handbook", date(2023, 5, 6))


def test_csv_names_the_column_in_every_row(tmp_path: Path) -> None:
    document = read(tmp_path, "cities.csv", "city;people\nOslo;700000\nRome;2800000\n")
    assert document.pages[0].text == "city | people\ncity: Oslo; people: 700000\ncity: Rome; people: 2800000"


def test_text_loses_control_and_hidden_characters(tmp_path: Path) -> None:
    hidden = "pay\u200b the\u202e invoice\U000e0041\x00\x07 today\r\nplease"
    assert read(tmp_path, "note.txt", hidden).pages[0].text == "pay the invoice today\nplease"


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "cp1252"])
def test_text_is_decoded_in(encoding: str, tmp_path: Path) -> None:
    words = "Überweisung für das Büro in Zürich"
    assert read(tmp_path, "note.txt", words.encode(encoding)).pages[0].text == words


def test_a_file_without_text_is_empty(tmp_path: Path) -> None:
    with pytest.raises(IngestionFailure) as failure:
        read(tmp_path, "blank.pdf", factories.make_pdf([""]))
    assert failure.value.code == "empty"


def test_html_is_decoded_as_it_declares_where_that_fits(tmp_path: Path) -> None:
    words = "Zażółć gęślą jaźń, pchnąć w tę łódź jeża lub ośm skrzyń fig"
    source = f'<html><head><meta charset="iso-8859-2"></head><body><p>{words}</p></body></html>'
    assert read(tmp_path, "page.html", source.encode("iso-8859-2")).pages[0].text == words


def test_pdf_pages_that_the_file_numbers_in_another_way_say_so(tmp_path: Path) -> None:
    writer = PdfWriter(PdfReader(io.BytesIO(factories.make_pdf(["Preface", "Contents", "Chapter"]))))
    writer.set_page_label(0, 1, PageLabelStyle.LOWERCASE_ROMAN)
    writer.set_page_label(2, 2, PageLabelStyle.DECIMAL, start=3)
    out = io.BytesIO()
    writer.write(out)
    document = read(tmp_path, "book.pdf", out.getvalue())
    assert [page.label for page in document.pages] == ["page 1 (i)", "page 2 (ii)", ""]
