"""OpenDocument, rich text, books, messages and JSON: text, structure, facts, and what is refused."""

from __future__ import annotations

import json
from datetime import date
from email.message import EmailMessage
from pathlib import Path

import pytest

from ingestion.child import parse_file
from ingestion.guards import IngestionFailure, Limits
from ingestion.parsers.eml import EML
from ingestion.parsers.epub import EPUB
from ingestion.parsers.json import JSON
from ingestion.parsers.odt import ODT
from ingestion.parsers.rtf import RTF
from ingestion.parsers.text import TEXT
from ingestion.sniff import sniff
from tests.ingestion import factories
from tests.ingestion.test_parse_formats import read

ODT_BODY = """
<office:document-content xmlns:office="o" xmlns:text="t" xmlns:table="tb" xmlns:draw="d" xmlns:dc="dc">
<office:body><office:text>
<text:tracked-changes><text:changed-region><text:p>Deleted words.</text:p></text:changed-region></text:tracked-changes>
<text:p text:style-name="Title">Leave policy</text:p>
<text:h text:outline-level="2">Days<text:s text:c="2"/>off</text:h>
<text:p>Thirty days<text:note><text:note-citation>1</text:note-citation><text:note-body><text:p>From the second year.</text:p>
</text:note-body></text:note> a <text:span>year</text:span>.<office:annotation><text:p>Is this so?</text:p></office:annotation></text:p>
<text:list><text:list-item><text:p>Ask first.</text:p></text:list-item></text:list>
<table:table>
<table:table-row><table:table-cell><text:p>Grade</text:p></table:table-cell><table:table-cell><text:p>Days</text:p>
</table:table-cell></table:table-row>
<table:table-row><table:table-cell><text:p>Senior</text:p></table:table-cell><table:table-cell><text:p>35</text:p>
</table:table-cell></table:table-row>
</table:table>
<text:p><draw:frame><draw:text-box><text:p>In a box.</text:p></draw:text-box></draw:frame>Around it.</text:p>
</office:text></office:body></office:document-content>
"""
ODT_FACTS = """
<office:document-meta xmlns:office="o" xmlns:meta="m" xmlns:dc="dc"><office:meta>
<dc:title>Leave</dc:title><meta:initial-creator>Bob</meta:initial-creator>
<meta:creation-date>2026-03-01T10:00:00</meta:creation-date></office:meta></office:document-meta>
"""


def odt(**more: bytes) -> bytes:
    parts = {"mimetype": ODT.encode(), "content.xml": ODT_BODY.encode(), "meta.xml": ODT_FACTS.encode()}
    return factories.make_zip(parts | {f"META-INF/{name}.xml": data for name, data in more.items()})


def test_odt_keeps_headings_lists_tables_and_notes_and_drops_deleted_text(tmp_path: Path) -> None:
    document = read(tmp_path, "policy.odt", odt())
    (page,) = document.pages
    assert page.text == (
        "Leave policy\n\nDays off\n\nThirty days a year.\n- Ask first.\n\nGrade | Days\nGrade: Senior; Days: 35"
        "\n\nIn a box.\n\nAround it.\n\nFrom the second year."
    )
    assert [(heading.text, heading.level) for heading in page.headings] == [
        ("Leave policy", 1),
        ("Days off", 2),
    ]
    assert (document.title, document.author, document.created) == ("Leave", "Bob", date(2026, 3, 1))


@pytest.mark.parametrize("password", [None, "the right one"])
def test_a_protected_odt_says_so_with_a_password_too(tmp_path: Path, password: str | None) -> None:
    manifest = b'<m:manifest xmlns:m="m"><m:file-entry><m:encryption-data/></m:file-entry></m:manifest>'
    path = tmp_path / "upload"
    path.write_bytes(odt(manifest=manifest))
    with pytest.raises(IngestionFailure) as failure:
        parse_file(path, filename="policy.odt", limits=Limits(), password=password)
    assert failure.value.code == "encrypted"
    assert failure.value.remedy == "Remove the password and upload the file again."


def test_another_open_document_is_unsupported(tmp_path: Path) -> None:
    drawing = factories.make_zip(
        {"mimetype": b"application/vnd.oasis.opendocument.graphics", "content.xml": b"<a/>"}
    )
    with pytest.raises(IngestionFailure) as failure:
        read(tmp_path, "plan.odg", drawing)
    assert failure.value.code == "unsupported"


def test_rtf_gives_its_text_and_facts(tmp_path: Path) -> None:
    source = (
        r"{\rtf1\ansi\ansicpg1252{\info{\title Travel rules}{\author Ren\'e9e}{\creatim\yr2025\mo11\dy3\hr1\min2}}"
        r"{\fonttbl{\f0 Arial;}}Book trains early.\par Caf\'e9 \u8364? 12\par"
        r"\trowd\cellx100\cellx200\intbl City\cell Rate\cell\row}"
    )
    document = read(tmp_path, "travel.rtf", source)
    assert document.media_type == RTF
    assert document.pages[0].text == "Book trains early.\n\nCafé € 12\n\nCity | Rate"
    assert (document.title, document.author, document.created) == ("Travel rules", "Renée", date(2025, 11, 3))


def book(*, second: bytes = b"<html><body><p>Grease weekly.</p></body></html>", **more: bytes) -> bytes:
    package = """<package xmlns="p" xmlns:dc="d"><metadata><dc:title>The Press</dc:title><dc:creator>Ada</dc:creator>
    <dc:date>2024-05-06</dc:date><dc:language>en-GB</dc:language></metadata><manifest>
    <item id="two" href="text/second%20part.xhtml" media-type="application/xhtml+xml"/>
    <item id="one" href="text/first.xhtml" media-type="application/xhtml+xml"/>
    <item id="cover" href="cover.xhtml" media-type="application/xhtml+xml"/>
    <item id="out" href="../../outside.xhtml" media-type="application/xhtml+xml"/></manifest>
    <spine><itemref idref="cover"/><itemref idref="one"/><itemref idref="two"/><itemref idref="out"/></spine></package>"""
    container = '<container xmlns="c"><rootfiles><rootfile full-path="OPS/book.opf"/></rootfiles></container>'
    return factories.make_zip(
        {
            "mimetype": EPUB.encode(),
            "META-INF/container.xml": container.encode(),
            "OPS/book.opf": package.encode(),
            "OPS/cover.xhtml": b"<html><body><img src='x.png'/></body></html>",
            "OPS/text/first.xhtml": b"<html><body><h1>Oil</h1><p>Change it every 400 hours.</p></body></html>",
            "OPS/text/second part.xhtml": second,
            **{f"META-INF/{name}.xml": data for name, data in more.items()},
        }
    )


def test_epub_follows_the_spine(tmp_path: Path) -> None:
    document = read(tmp_path, "press.epub", book())
    assert [page.text for page in document.pages] == ["Oil\n\nChange it every 400 hours.", "Grease weekly."]
    assert [page.label for page in document.pages] == ["Oil", "Section 2"]
    assert document.pages[0].headings[0].text == "Oil"
    assert (document.title, document.author, document.created) == ("The Press", "Ada", date(2024, 5, 6))


@pytest.mark.parametrize("nothing", [b"", b"<!-- blank -->", b"<html><head><title/></head><body/></html>"])
def test_a_chapter_without_anything_is_passed_over(tmp_path: Path, nothing: bytes) -> None:
    document = read(tmp_path, "press.epub", book(second=nothing))
    assert [page.text for page in document.pages] == ["Oil\n\nChange it every 400 hours."]


@pytest.mark.parametrize(
    ("algorithm", "protected"),
    [("http://www.w3.org/2001/04/xmlenc#aes128-cbc", True), ("http://www.idpf.org/2008/embedding", False)],
)
def test_a_book_under_rights_management_says_so(tmp_path: Path, algorithm: str, protected: bool) -> None:
    data = book(encryption=f'<encryption><EncryptionMethod Algorithm="{algorithm}"/></encryption>'.encode())
    if not protected:
        assert read(tmp_path, "press.epub", data).pages
        return
    with pytest.raises(IngestionFailure) as failure:
        read(tmp_path, "press.epub", data)
    assert failure.value.code == "encrypted"


def message(subject: str = "Offer 4711", text: str = "Please find the offer attached.") -> EmailMessage:
    mail = EmailMessage()
    mail["From"] = "Renée Roy <renee@example.org>"
    mail["To"] = "alice@acme.example"
    mail["Date"] = "Tue, 03 Mar 2026 10:00:00 +0100"
    mail["Subject"] = subject
    mail.set_content(text)
    return mail


def test_a_message_is_read_with_its_attachments(tmp_path: Path) -> None:
    mail = message()
    mail.add_alternative("<p>Please find the <b>offer</b> attached.</p>", subtype="html")
    mail.add_attachment(factories.make_pdf(["Price: 12 euros", "Delivery in May"]), maintype="application",
                        subtype="pdf", filename="offer.pdf")  # fmt: skip
    mail.add_attachment(
        b"\x89PNG\r\n\x1a\n" + bytes(50), maintype="image", subtype="png", filename="logo.png"
    )
    mail.add_attachment(message("Forwarded", "The old price was 13 euros."))
    document = read(tmp_path, "offer.eml", mail.as_bytes())
    first, price, delivery, forwarded = document.pages
    assert first.text == (
        "Offer 4711\nFrom: Renée Roy <renee@example.org>\nTo: alice@acme.example\n"
        "Date: Tue, 03 Mar 2026 10:00:00 +0100\n\nPlease find the offer attached.\n\nAttachment: offer.pdf\n\n"
        "Attachment logo.png was not read: Files of this kind cannot be read.\n\nAttachment: message"
    )
    assert (price.text, price.label) == ("Price: 12 euros", "offer.pdf, page 1")
    assert delivery.label == "offer.pdf, page 2"
    assert "The old price was 13 euros." in forwarded.text
    assert [page.number for page in document.pages] == [1, 2, 3, 4]
    assert (document.title, document.author, document.created) == (
        "Offer 4711",
        "Renée Roy",
        date(2026, 3, 3),
    )


def test_a_broken_attachment_costs_neither_the_message_nor_the_others(tmp_path: Path) -> None:
    mail = message()
    for name, data in (
        ("a.pdf", b"%PDF-1.4 broken"),
        ("b.docx", b"PK\x03\x04 broken"),
        ("c.txt", b"Good words."),
    ):
        mail.add_attachment(data, maintype="application", subtype="octet-stream", filename=name)
    document = read(tmp_path, "offer.eml", mail.as_bytes())
    assert document.pages[0].text.endswith(
        "Please find the offer attached.\n\n"
        "Attachment a.pdf was not read: The file is damaged and could not be read.\n\n"
        "Attachment b.docx was not read: The file is damaged and could not be read.\n\nAttachment: c.txt"
    )
    assert [page.text for page in document.pages[1:]] == ["Good words."]


def test_a_message_with_an_empty_body_is_read(tmp_path: Path) -> None:
    mail = message()
    mail.set_content("", subtype="html")
    document = read(tmp_path, "offer.eml", mail.as_bytes())
    assert document.pages[0].text.startswith("Offer 4711\nFrom: ")


def test_messages_within_messages_end_somewhere(tmp_path: Path) -> None:
    mail = message("innermost", "deep words")
    for level in range(5):
        outer = message(f"level {level}")
        outer.add_attachment(mail)
        mail = outer
    document = read(tmp_path, "nested.eml", mail.as_bytes())
    text = "\n".join(page.text for page in document.pages)
    assert "was not read: The file nests messages too deeply." in text
    assert "deep words" not in text


def test_too_many_attachments_are_refused(tmp_path: Path) -> None:
    mail = message()
    for number in range(101):
        mail.add_attachment(b"words", maintype="text", subtype="plain", filename=f"{number}.txt")
    with pytest.raises(IngestionFailure) as failure:
        read(tmp_path, "many.eml", mail.as_bytes())
    assert failure.value.code == "bomb"


def test_json_reads_as_paths_and_values(tmp_path: Path) -> None:
    value = {
        "title": "Robots",
        "arm": {"reach": 1.5, "ok": True},
        "tags": ["blue", 7],
        "parts": [{"no": "A1"}, None],
    }
    document = read(tmp_path, "robots.json", json.dumps(value))
    assert document.title == "Robots"
    assert document.pages[0].text == (
        "title: Robots\narm.reach: 1.5\narm.ok: true\ntags: blue, 7\nparts[1].no: A1"
    )


def test_records_are_paragraphs_of_their_own(tmp_path: Path) -> None:
    lines = '{"name": "Ada", "city": "London"}\n{"name": "Bob", "city": "Bern"}\n'
    wanted = "name: Ada\ncity: London\n\nname: Bob\ncity: Bern"
    assert read(tmp_path, "people.jsonl", lines).pages[0].text == wanted
    assert read(tmp_path, "people", "[" + lines.strip().replace("\n", ",") + "]").pages[0].text == wanted


def test_broken_json_is_still_found_by_its_words(tmp_path: Path) -> None:
    text = '{"name": "Ada", // the first\n'
    assert read(tmp_path, "people.json", text).pages[0].text == text.strip()


def test_json_nested_too_deeply_is_malformed(tmp_path: Path) -> None:
    with pytest.raises(IngestionFailure) as failure:
        read(tmp_path, "deep.json", "[" * 200_000 + "]" * 200_000)
    assert failure.value.code == "malformed"


@pytest.mark.parametrize(
    ("text", "name", "kind"),
    [
        ("From: a@b\nTo: c@d\nSubject: x\n\nbody", "noname", EML),
        ("Received: by x\nFrom: a@b\n\nbody", "a.eml", EML),
        ("From: a@b\nTo: c@d\nSubject: x\n\nbody", "notes.txt", TEXT),
        ("Dear all,\nSubject: x\nTo: me\nFrom: you\n", "noname", TEXT),
        ('{"a": 1}', "noname", JSON),
        ("[see](http://a.b) and [this](http://c.d)\n", "noname", TEXT),
    ],
)
def test_messages_and_json_are_told_from_text(tmp_path: Path, text: str, name: str, kind: str) -> None:
    (tmp_path / "f").write_text(text)
    assert sniff(tmp_path / "f", name) == kind
