"""What of a PDF page's text its readers see: the page is drawn with and without the doubtful text, and compared (T33).

Runs only inside the limited child process, by pdfium. What always holds: text is hidden when it lies off the page, is set
smaller than two points, or when leaving it out changes nothing in the picture of the page (white on white, behind a box,
clipped, transparent); white text on a dark box changes it, and stays. The layer that text recognition lays over or under
a scan stays where the scan shows something in its place; and where a font is missing here, so that nothing can be drawn,
the colours decide. A page without such text costs one drawing at 72 dots an
inch; the pictures that decide have twice as many.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pypdfium2 as pdfium
import pypdfium2.raw as raw

from ingestion.parsed import HIDDEN
from ingestion.text import clean

_SMALLEST: Final = 2.0
_SMALLEST_PART: Final = 0.0025
"""Points, or of the page's height where that is less: what is set smaller is not meant to be read."""
_LIGHT: Final = 200
"""A text whose red, green and blue are all above this may be as its background."""
_FAINT: Final = 64
"""Of 255: what is less opaque may not be seen."""
_FLAT: Final = 24
"""Where no channel varies by more, nothing dark is drawn."""
_SAME: Final = 10
"""Pictures that differ by no more look the same."""
_LATIN: Final = 0x24F
_SCALE: Final = 2.0
_MOST_PIXELS: Final = 16_000_000
_WHITE_SPACE: Final = re.compile(r"[ \t]*\n\s*")

Box = tuple[float, float, float, float]
Picture = Any  # [height, width, 3], uint8


@dataclass(slots=True)
class _Run:
    """Characters that one text object draws. ``box``: left, bottom, right, top in points of the page. ``drawable``: its font is
    in the file, or its letters are Latin ones, for which there is always another."""

    object: Any
    places: list[int]
    box: Box
    height: float
    drawable: bool


def texts(path: Path, pages: Iterable[int], password: str | None) -> Iterator[tuple[int, str]]:
    """Number of each of ``pages`` (from 1), and :data:`HIDDEN` with the text that is seen, or nothing where all of it is."""
    try:
        document = pdfium.PdfDocument(path, password=password)
    except pdfium.PdfiumError:
        return
    for number in pages:
        try:
            seen = _seen(document[number - 1])
        except (pdfium.PdfiumError, IndexError, ValueError):
            seen = None
        yield number, "" if seen is None else HIDDEN + seen


def _seen(page: pdfium.PdfPage) -> str | None:
    """The text that is seen, or None where nothing is hidden."""
    width, height = page.get_size()
    if width * height * _SCALE**2 > _MOST_PIXELS:
        return None  # so large a page would be drawn too small to tell
    text = page.get_textpage()
    if not _is_doubtful(page, text):
        return None
    before = _drawn(page, _SCALE)
    runs = [run for run in _runs(text) if _may_be_hidden(page, run, before)]
    if not runs:
        return None
    modes = [raw.FPDFTextObj_GetTextRenderMode(run.object) for run in runs]
    is_scan = _is_scan(page)
    for run in runs:
        raw.FPDFTextObj_SetTextRenderMode(run.object, raw.FPDF_TEXTRENDERMODE_INVISIBLE)
    after = _drawn(page, _SCALE)
    hidden: set[int] = set()
    for run, mode in zip(runs, modes, strict=True):
        recognised = is_scan or mode == raw.FPDF_TEXTRENDERMODE_INVISIBLE
        if _is_hidden(page, run, before, after, recognised=recognised):
            hidden.update(run.places)
    if not hidden:
        return None
    count = text.count_chars()
    kept = "".join(_character(text, place) for place in range(count) if place not in hidden)
    return _WHITE_SPACE.sub("\n", clean(kept)).strip()


def _is_doubtful(page: pdfium.PdfPage, text: pdfium.PdfTextPage) -> bool:
    """Whether some text is light or faint, or lies where the picture shows nothing, or off the page."""
    red, green, blue, alpha = (ctypes.c_uint() for _ in range(4))
    for item in page.get_objects(filter=[raw.FPDF_PAGEOBJ_TEXT], max_depth=8):
        if raw.FPDFPageObj_GetFillColor(item, red, green, blue, alpha) and _is_pale(
            red.value, green.value, blue.value, alpha.value
        ):
            return True
    edges = _edges(page.render(scale=1.0, grayscale=True).to_numpy())
    high, wide = edges.shape[0] - 1, edges.shape[1] - 1
    letters = 0
    for place in range(text.count_rects()):
        box = text.get_rect(place)
        if box[2] <= box[0] or box[3] <= box[1]:
            continue
        left, top, right, bottom = _pixels(page, box, wide, high, 1)
        if right > left and bottom > top:
            ink = edges[bottom, right] - edges[top, right] - edges[bottom, left] + edges[top, left]
            if ink and min(box[2] - box[0], box[3] - box[1]) >= _smallest(page):
                continue
        letters += sum(character.isalnum() for character in text.get_text_bounded(*box))
        if letters > 1:  # each may be drawn by itself; a dash, a dot or a space is none
            return True
    return False


def _smallest(page: pdfium.PdfPage) -> float:
    return min(_SMALLEST, _SMALLEST_PART * float(page.get_height()))


def _edges(grey: Picture) -> Any:
    """How many pixels that differ from the one before or above lie above and left of each place: ``[height + 1, width + 1]``."""
    tone = grey.reshape(grey.shape[0], grey.shape[1]).astype(np.int16)
    found = np.zeros((tone.shape[0] + 1, tone.shape[1] + 1), dtype=np.int32)
    found[1:, 2:] = np.abs(np.diff(tone, axis=1)) > _FLAT
    found[2:, 1:] |= np.abs(np.diff(tone, axis=0)) > _FLAT
    return found.cumsum(axis=0).cumsum(axis=1)


def _is_pale(red: int, green: int, blue: int, alpha: int) -> bool:
    return min(red, green, blue) > _LIGHT or alpha < _FAINT


def _runs(text: pdfium.PdfTextPage) -> list[_Run]:
    found: list[_Run] = []
    left, right, bottom, top = (ctypes.c_double() for _ in range(4))
    loose = raw.FS_RECTF()
    last: int | None = None
    for place in range(text.count_chars()):
        item = raw.FPDFText_GetTextObject(text, place)
        if not item:
            continue  # a space or a line's end of pdfium's own making
        if _character(text, place).isspace():
            continue
        raw.FPDFText_GetCharBox(text, place, left, right, bottom, top)
        raw.FPDFText_GetLooseCharBox(text, place, loose)
        box = (left.value, bottom.value, right.value, top.value)
        address = ctypes.addressof(item.contents)
        high = max(abs(loose.top - loose.bottom), abs(loose.right - loose.left))
        if found and address == last:
            run = found[-1]
            run.places.append(place)
            run.box = (*map(min, run.box[:2], box[:2]), *map(max, run.box[2:], box[2:]))  # type: ignore[assignment]
            run.height = max(run.height, high)
        else:
            found.append(_Run(item, [place], box, high, drawable=True))
        if raw.FPDFText_GetUnicode(text, place) > _LATIN and found[-1].drawable:
            found[-1].drawable = raw.FPDFFont_GetIsEmbedded(raw.FPDFTextObj_GetFont(item)) == 1
        last = address
    return found


def _may_be_hidden(page: pdfium.PdfPage, run: _Run, picture: Picture) -> bool:
    """Only such runs are left out of the second picture: of two that lie upon each other the dark one stays in it."""
    red, green, blue, alpha = (ctypes.c_uint() for _ in range(4))
    known = raw.FPDFPageObj_GetFillColor(run.object, red, green, blue, alpha)
    if known and _is_pale(red.value, green.value, blue.value, alpha.value):
        return True
    invisible = raw.FPDFTextObj_GetTextRenderMode(run.object) == raw.FPDF_TEXTRENDERMODE_INVISIBLE
    return invisible or run.height < _smallest(page) or _is_flat(_part(page, picture, run.box, _SCALE))


def _is_hidden(page: pdfium.PdfPage, run: _Run, before: Picture, after: Picture, *, recognised: bool) -> bool:
    if run.height < _smallest(page):
        return True
    with_it, without = (_part(page, picture, run.box, _SCALE) for picture in (before, after))
    if not with_it.size:
        return True  # off the page
    if np.abs(with_it.astype(np.int16) - without).max() > _SAME:
        return False
    if recognised:
        return _is_flat(with_it)
    return run.drawable or _is_coloured_as(run, with_it)


def _is_scan(page: pdfium.PdfPage) -> bool:
    """Whether one picture takes most of the page."""
    width, height = page.get_size()
    for item in page.get_objects(filter=[raw.FPDF_PAGEOBJ_IMAGE], max_depth=8):
        left, bottom, right, top = item.get_bounds()
        if (right - left) * (top - bottom) > 0.5 * width * height:
            return True
    return False


def _is_coloured_as(run: _Run, part: Picture) -> bool:
    """Whether the text has the colour of what is around it."""
    red, green, blue, alpha = (ctypes.c_uint() for _ in range(4))
    raw.FPDFPageObj_GetFillColor(run.object, red, green, blue, alpha)
    around = np.median(part.reshape(-1, 3), axis=0)
    own = (blue.value, green.value, red.value)  # as pdfium orders them in a picture
    return alpha.value == 0 or bool(np.abs(around - own).max() <= _SAME)


def _drawn(page: pdfium.PdfPage, scale: float) -> Picture:
    return page.render(scale=scale, rev_byteorder=False).to_numpy()[:, :, :3]


def _is_flat(part: Picture) -> bool:
    """Also where it is empty: off the page."""
    return (
        not part.size or int((part.max(axis=(0, 1)).astype(np.int16) - part.min(axis=(0, 1))).max()) <= _FLAT
    )


def _part(page: pdfium.PdfPage, picture: Picture, box: Box, scale: float) -> Picture:
    """What the picture shows in a box and a point around it; empty where all of the box lies off the page."""
    left, top, right, bottom = _pixels(page, box, picture.shape[1], picture.shape[0], int(scale))
    return picture[top:bottom, left:right]


def _pixels(page: pdfium.PdfPage, box: Box, wide: int, high: int, edge: int) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of a box with ``edge`` pixels around it in a picture of the page; right before left, or
    bottom before top, where all of the box lies off the page."""
    xs, ys = [], []
    across, down = ctypes.c_int(), ctypes.c_int()
    for x, y in ((box[0], box[1]), (box[2], box[3])):
        raw.FPDF_PageToDevice(page, 0, 0, wide, high, 0, x, y, across, down)
        xs.append(across.value)
        ys.append(down.value)
    if max(xs) < 0 or min(xs) > wide or max(ys) < 0 or min(ys) > high:
        return 0, 0, 0, 0
    return (
        max(0, min(xs) - edge), max(0, min(ys) - edge), min(wide, max(xs) + edge + 1), min(high, max(ys) + edge + 1)
    )  # fmt: skip


def _character(text: pdfium.PdfTextPage, place: int) -> str:
    code = raw.FPDFText_GetUnicode(text, place)
    return chr(code) if 0 < code < 0x110000 and not 0xD800 <= code < 0xE000 else " "
