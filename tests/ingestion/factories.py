"""Small files of every format, made in memory, for the tests of reading them."""

from __future__ import annotations

import io
import zipfile
from email.message import EmailMessage

import docx
import openpyxl
import pptx
from msoffcrypto.format.ooxml import OOXMLFile
from PIL import Image, ImageDraw, ImageFont
from pypdf import PdfReader, PdfWriter
from reportlab.pdfgen import canvas


def make_pdf(pages: list[str], *, title: str = "", author: str = "", outline: bool = False) -> bytes:
    """A PDF with a line of text for each line of each page; with ``outline``, first lines are bookmarks."""
    out = io.BytesIO()
    drawing = canvas.Canvas(out, pagesize=(595, 842))
    drawing.setTitle(title)
    drawing.setAuthor(author)
    for number, page in enumerate(pages):
        lines = page.split("\n")
        if outline:
            drawing.bookmarkPage(f"p{number}")
            drawing.addOutlineEntry(lines[0], f"p{number}", level=0)
        for place, line in enumerate(lines):
            drawing.drawString(72, 770 - 16 * place, line)
        drawing.showPage()
    drawing.save()
    return out.getvalue()


def make_docx(*, title: str = "", author: str = "") -> bytes:
    """A Word file with a heading, a paragraph, a list and a table of two rows."""
    document = docx.Document()
    document.core_properties.title = title
    document.core_properties.author = author
    document.add_heading("Leave policy", level=1)
    document.add_paragraph("Every employee has thirty days of leave in a year.")
    document.add_paragraph("Ask your manager first.", style="List Bullet")
    table = document.add_table(rows=2, cols=2)
    for row, words in enumerate((("Grade", "Days"), ("Senior", "35"))):
        for column, word in enumerate(words):
            table.cell(row, column).text = word
    return _saved(document)


def make_pptx() -> bytes:
    """Two slides: a title with a body and notes; a title alone."""
    deck = pptx.Presentation()
    slide = deck.slides.add_slide(deck.slide_layouts[1])
    slide.shapes.title.text = "Quarterly result"
    slide.placeholders[1].text = "Revenue grew by nine percent."
    slide.notes_slide.notes_text_frame.text = "Mention the new office."
    deck.slides.add_slide(deck.slide_layouts[0]).shapes.title.text = "Questions"
    return _saved(deck)


def make_xlsx() -> bytes:
    """Two sheets: Budget with a header and two rows, and an empty one."""
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.title = "Budget"
    for row in (("City", "Amount"), ("Oslo", 1200), ("Rome", 7.5)):
        sheet.append(row)
    book.create_sheet("Notes")
    return _saved(book)


def make_zip(parts: dict[str, bytes]) -> bytes:
    """A deflated archive of ``parts``."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    return out.getvalue()


def with_part(office: bytes, name: str, data: bytes) -> bytes:
    """The office file with one part replaced or added."""
    with zipfile.ZipFile(io.BytesIO(office)) as archive:
        parts = {item: archive.read(item) for item in archive.namelist()}
    return make_zip({**parts, name: data})


def _saved(document: object) -> bytes:
    out = io.BytesIO()
    document.save(out)  # type: ignore[attr-defined]
    return out.getvalue()


def nested_mail(*, depth: int) -> bytes:
    """A message within a message, ``depth`` in all."""
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = "alice@acme.example", "bob@acme.example", f"Level {depth}"
    mail.set_content("See below.")
    for level in range(depth - 1, 0, -1):
        outer = EmailMessage()
        outer["From"], outer["To"], outer["Subject"] = mail["From"], mail["To"], f"Level {level}"
        outer.set_content("See below.")
        outer.add_attachment(mail)
        mail = outer
    return mail.as_bytes()


def make_scan(pages: list[str]) -> bytes:
    """A PDF whose pages are pictures of these lines, without a text layer; an empty one is a white page."""
    pictures = []
    for page in pages:
        picture = Image.new("RGB", (1240, 1754), "white")
        for place, line in enumerate(page.split("\n")):
            ImageDraw.Draw(picture).text((120, 160 + 60 * place), line, "black", ImageFont.load_default(34))
        pictures.append(picture)
    out = io.BytesIO()
    pictures[0].save(out, "PDF", save_all=True, append_images=pictures[1:], resolution=150)
    return out.getvalue()


def encrypted_pdf(text: str, password: str) -> bytes:
    writer = PdfWriter(PdfReader(io.BytesIO(make_pdf([text]))))
    writer.encrypt(password, algorithm="AES-256")
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


def encrypted_office(plain: bytes, password: str) -> bytes:
    """A docx, pptx or xlsx file under a password, as Office writes it."""
    out = io.BytesIO()
    OOXMLFile(io.BytesIO(plain)).encrypt(password, out)
    return out.getvalue()
