"""Small documents of mixed formats, each with a canary: a word that no other document has.

What always holds: the same number, version and seed make the same text, and no two documents the same bytes.
"""

from __future__ import annotations

import hashlib
import io
import json
import random
from collections.abc import Callable
from dataclasses import dataclass

import docx
import openpyxl
from reportlab.pdfgen import canvas

WORDS = [
    "valve",
    "pump",
    "lever",
    "hall",
    "winter",
    "grease",
    "engine",
    "gauge",
    "boiler",
    "turbine",
    "rotor",
    "shaft",
    "bearing",
    "flange",
    "gasket",
    "pressure",
    "inspection",
    "manual",
    "interval",
    "operator",
    "warning",
    "supply",
    "drain",
    "filter",
    "housing",
    "cover",
    "frost",
    "night",
]
LONG_EVERY = 25


@dataclass(frozen=True, slots=True)
class Paper:
    """One version of a document as it is uploaded."""

    number: int
    name: str
    content: bytes
    canary: str


def make(number: int, *, version: int = 1, seed: int = 0) -> Paper:
    """Document ``number`` in one of its versions."""
    chance = random.Random(f"{seed} {number} {version}")
    canary = "kestrel" + hashlib.sha256(f"{seed} {number} {version}".encode()).hexdigest()[:12]
    ending, write = FORMATS[number % len(FORMATS)]
    count = 40 if number % LONG_EVERY == LONG_EVERY - 1 else chance.randint(1, 4)
    paragraphs = [" ".join(chance.choices(WORDS, k=50)) + "." for _ in range(count)]
    place = chance.randrange(count)
    paragraphs[place] = f"The watchword of document {number} is {canary}. {paragraphs[place]}"
    return Paper(number, f"document-{number}.{ending}", write(paragraphs), canary)


def _text(paragraphs: list[str]) -> bytes:
    return "\n\n".join(paragraphs).encode()


def _markdown(paragraphs: list[str]) -> bytes:
    return "\n\n".join(f"## Part {n}\n\n{text}" for n, text in enumerate(paragraphs)).encode()


def _html(paragraphs: list[str]) -> bytes:
    body = "".join(f"<h2>Part {n}</h2><p>{text}</p>" for n, text in enumerate(paragraphs))
    return f"<!doctype html><html><body>{body}</body></html>".encode()


def _csv(paragraphs: list[str]) -> bytes:
    return ("part,text\n" + "".join(f"{n},{text}\n" for n, text in enumerate(paragraphs))).encode()


def _json(paragraphs: list[str]) -> bytes:
    return json.dumps([{"part": n, "text": text} for n, text in enumerate(paragraphs)]).encode()


def _docx(paragraphs: list[str]) -> bytes:
    document = docx.Document()
    for n, text in enumerate(paragraphs):
        document.add_heading(f"Part {n}", level=1)
        document.add_paragraph(text)
    out = io.BytesIO()
    document.save(out)
    return out.getvalue()


def _xlsx(paragraphs: list[str]) -> bytes:
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.append(["Part", "Text"])
    for n, text in enumerate(paragraphs):
        sheet.append([n, text])
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def _pdf(paragraphs: list[str]) -> bytes:
    out = io.BytesIO()
    drawing = canvas.Canvas(out, pagesize=(595, 842))
    for text in paragraphs:
        words = text.split()
        for line, start in enumerate(range(0, len(words), 8)):
            drawing.drawString(72, 770 - 16 * line, " ".join(words[start : start + 8]))
        drawing.showPage()
    drawing.save()
    return out.getvalue()


FORMATS: tuple[tuple[str, Callable[[list[str]], bytes]], ...] = (
    ("txt", _text),
    ("md", _markdown),
    ("html", _html),
    ("csv", _csv),
    ("pdf", _pdf),
    ("md", _markdown),
    ("docx", _docx),
    ("txt", _text),
    ("json", _json),
    ("xlsx", _xlsx),
)
