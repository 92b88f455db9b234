"""A PDF page as an image, and where a passage of its text stands on it, by pdfium.

Runs only inside the limited child process: pdfium aborts its process on some files. pypdf's text (which was
indexed) and pdfium's characters (which have places) differ in white space, order and ligatures, so that they
are aligned by their letters and digits alone, compared by compatibility form (NFKC) and without case.
"""

from __future__ import annotations

import io
import unicodedata
from ctypes import byref, c_int
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path
from typing import Final

import pypdfium2 as pdfium
import pypdfium2.raw as raw

from ingestion.guards import IngestionFailure

ALIGNED_ENOUGH: Final = 0.9
_MAX_PIXELS: Final = 16_000_000
_GRAM: Final = 8
_MAX_CANDIDATES: Final = 64
_UNITS: Final = 100  # device units a point: PageToDevice answers in whole units

Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Found:
    """The answer of :func:`rectangles`; fields as in :class:`ingestion.child.Rectangles`."""

    page_width: float
    page_height: float
    boxes: list[Box]
    aligned: float


def _open(path: Path, page: int) -> tuple[pdfium.PdfDocument, pdfium.PdfPage]:
    document = pdfium.PdfDocument(path)
    if not 1 <= page <= len(document):
        raise IngestionFailure("malformed", "The document has no such page.")
    return document, document[page - 1]


def render(path: Path, *, page: int, scale: float) -> bytes:
    """Page ``page`` (from 1) as PNG at ``scale`` pixels a point, lowered to 16 megapixels at most."""
    _, opened = _open(path, page)
    width, height = opened.get_size()
    scale = min(max(scale, 0.05), (_MAX_PIXELS / max(width * height, 1.0)) ** 0.5)
    image = opened.render(scale=scale).to_pil().convert("RGB")
    out = io.BytesIO()
    image.save(out, format="PNG")
    return out.getvalue()


def rectangles(path: Path, *, page: int, page_text: str, start: int, end: int) -> Found:
    """Where ``page_text[start:end]`` stands: boxes merged by line, in points from the top left as shown."""
    _, opened = _open(path, page)
    width, height = opened.get_size()
    text_page = opened.get_textpage()
    count = text_page.count_chars()
    drawn = "".join(_character(raw.FPDFText_GetUnicode(text_page, place)) for place in range(count))
    matched, aligned = align(page_text, drawn, start, end)
    boxes: list[Box] = []
    if aligned >= ALIGNED_ENOUGH:
        boxes = _merge([_shown(opened, text_page, place, width, height) for place in sorted(matched)])
    return Found(width, height, boxes, aligned)


def _character(code: int) -> str:
    return chr(code) if 0 < code < 0x110000 and not 0xD800 <= code < 0xE000 else " "


def _shown(
    opened: pdfium.PdfPage, text_page: pdfium.PdfTextPage, place: int, width: float, height: float
) -> Box:
    left, bottom, right, top = text_page.get_charbox(place, loose=True)
    xs, ys = [], []
    for x, y in ((left, bottom), (right, top)):
        across, down = c_int(), c_int()
        size = int(width * _UNITS), int(height * _UNITS)
        raw.FPDF_PageToDevice(opened, 0, 0, size[0], size[1], 0, x, y, byref(across), byref(down))
        xs.append(across.value / _UNITS)
        ys.append(down.value / _UNITS)
    return min(xs), min(ys), max(xs), max(ys)


def _merge(boxes: list[Box]) -> list[Box]:
    """Joins boxes that follow each other on a line; a gap of three line heights begins a new one."""
    merged: list[Box] = []
    for box in boxes:
        if box[2] <= box[0] or box[3] <= box[1]:
            continue
        if merged:
            last = merged[-1]
            low = min(last[3] - last[1], box[3] - box[1])
            overlap = min(last[3], box[3]) - max(last[1], box[1])
            gap = max(box[0] - last[2], last[0] - box[2])
            if (overlap > 0.5 * low and gap < 3 * low) or _stacked(last, box):
                merged[-1] = (
                    min(last[0], box[0]), min(last[1], box[1]), max(last[2], box[2]), max(last[3], box[3])
                )  # fmt: skip
                continue
        merged.append(box)
    return merged


def _stacked(last: Box, box: Box) -> bool:
    """Whether ``box`` goes on in a column as wide as itself: a line of text that runs up or down the page."""
    wide = max(last[2] - last[0], box[2] - box[0])
    shared = min(last[2], box[2]) - max(last[0], box[0])
    gap = max(box[1] - last[3], last[1] - box[3])
    return shared > 0.9 * wide and gap < 0.3 * wide


def _letters(text: str) -> tuple[str, list[int]]:
    """Letters and digits of ``text`` in compatibility form, and for each its place in ``text``."""
    letters: list[str] = []
    places: list[int] = []
    for place, character in enumerate(text):
        for form in unicodedata.normalize("NFKC", character).casefold():
            if form.isalnum():
                letters.append(form)
                places.append(place)
    return "".join(letters), places


def align(page_text: str, drawn: str, start: int, end: int) -> tuple[set[int], float]:
    """Places in ``drawn`` of the passage ``page_text[start:end]``, and the share of its letters found.

    Blocks of letters are matched from the top of the page, each to the longest run that starts with the same
    eight letters and, of equals, to the nearest: the two programs may order blocks differently. Short gaps
    between blocks are closed by :class:`difflib.SequenceMatcher`.
    """
    ours, our_places = _letters(page_text)
    theirs, their_places = _letters(drawn)
    mapping = _match(ours, theirs)
    wanted = [index for index, place in enumerate(our_places) if start <= place < end]
    found = [mapping[index] for index in wanted if mapping[index] >= 0]
    return {their_places[index] for index in found}, (len(found) / len(wanted) if wanted else 0.0)


def _match(ours: str, theirs: str) -> list[int]:
    mapping = [-1] * len(ours)
    taken = bytearray(len(theirs))
    grams: dict[str, list[int]] = {}
    for place in range(len(theirs) - _GRAM + 1):
        grams.setdefault(theirs[place : place + _GRAM], []).append(place)
    here, expected = 0, 0
    while here + _GRAM <= len(ours):
        best, length = -1, 0
        candidates = [place for place in grams.get(ours[here : here + _GRAM], ()) if not taken[place]]
        candidates.sort(key=lambda place: abs(place - expected))
        for place in candidates[:_MAX_CANDIDATES]:
            run = _GRAM
            while here + run < len(ours) and place + run < len(theirs) and not taken[place + run]:
                if ours[here + run] != theirs[place + run]:
                    break
                run += 1
            if run > length:
                best, length = place, run
        if best < 0:
            here += 1
            continue
        for step in range(length):
            mapping[here + step] = best + step
            taken[best + step] = 1
        here, expected = here + length, best + length
    _close_gaps(ours, theirs, mapping, taken)
    return mapping


def _close_gaps(ours: str, theirs: str, mapping: list[int], taken: bytearray) -> None:
    here = 0
    while here < len(ours):
        if mapping[here] >= 0:
            here += 1
            continue
        stop = here
        while stop < len(ours) and mapping[stop] < 0:
            stop += 1
        low = mapping[here - 1] + 1 if here else 0
        high = mapping[stop] if stop < len(ours) else len(theirs)
        if low < high <= low + 4 * (stop - here) + 64 and stop - here <= 512:
            matcher = SequenceMatcher(None, ours[here:stop], theirs[low:high], autojunk=False)
            for block in matcher.get_matching_blocks():
                for step in range(block.size):
                    if not taken[low + block.b + step]:
                        mapping[here + block.a + step] = low + block.b + step
                        taken[low + block.b + step] = 1
        here = stop
