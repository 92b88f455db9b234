"""What is asked of the limited child process: a file's document, a page's picture, the place of a passage.

What always holds: nothing of a file is opened by the process that calls this; each function returns a value or raises
:class:`~ingestion.guards.IngestionFailure`.
"""

from __future__ import annotations

import base64
import contextlib
import itertools
import math
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any, Final

from django.conf import settings

from ingestion.child_process import SCRATCH, run
from ingestion.guards import IngestionFailure, Limits
from ingestion.hidden_text import leave_out
from ingestion.language import language_of
from ingestion.parsed import Drawn, Heading, Marks, ParsedDocument, ParsedPage, Unread
from ingestion.second_reading import read_again

SCRATCH_MARGIN_SECONDS: Final = 60.0
MOST_NUMBERED: Final = 10**9
"""What a column of page numbers holds."""


@dataclass(frozen=True, slots=True)
class Rectangles:
    """Where a passage stands on its page, in PDF points with the origin at the top left of the page as shown.

    ``boxes`` are (x0, y0, x1, y1), one for each line; empty where under 90 % of the passage's letters and
    digits were found. ``aligned`` is that share, 0 to 1.
    """

    page_width: float
    page_height: float
    boxes: list[tuple[float, float, float, float]]
    aligned: float


def limits() -> Limits:
    """What the settings allow the child."""
    env = settings.ENV
    return Limits(
        memory_mb=env.parse_memory_mb,
        cpu_s=env.parse_cpu_seconds,
        wall_s=env.parse_wall_seconds,
        page_s=env.parse_page_seconds,
        max_pages=env.parse_max_pages,
        max_characters=env.parse_max_characters,
        max_archive_ratio=env.parse_max_archive_ratio,
        max_unpacked_mb=env.parse_max_unpacked_mb,
        max_archive_entries=env.parse_max_archive_entries,
        max_nesting=env.parse_max_nesting,
        max_attachments=env.parse_max_attachments,
        ocr_max_pages=env.ocr_max_pages,
        ocr_page_s=env.ocr_page_seconds,
        ocr_memory_mb=env.ocr_memory_mb,
    )


def remove_left_overs(*, now: float) -> int:
    """Removes the temporary folders of children whose parent was killed: those that are older at ``now`` (seconds
    since 1970) than any child may get. Returns how many."""
    allowed = limits()
    longest = max(allowed.wall_s, allowed.ocr_page_s * allowed.ocr_max_pages)
    removed = 0
    for folder in Path(tempfile.gettempdir()).glob(f"{SCRATCH}*"):
        with contextlib.suppress(OSError):  # another process removes it too
            if folder.stat().st_mtime < now - longest - SCRATCH_MARGIN_SECONDS:
                shutil.rmtree(folder)
                removed += 1
    return removed


def parse_file(
    path: Path,
    *,
    filename: str,
    limits: Limits,
    password: str | None = None,
    on_page: Callable[[int, int], None] | None = None,
) -> ParsedDocument:
    """The document in the file at ``path``, uploaded as ``filename``. Raises :class:`IngestionFailure`.

    Pages in which the format's parser finds no text are read again by other means. ``on_page`` is told how many of
    how many pages are read while that takes time; whatever it raises ends the work.
    """
    request = {"act": "parse", "path": str(path), "filename": filename, "password": password}
    result = run(request, limits)
    try:
        document = _document(result, limits)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise IngestionFailure("malformed") from error
    if document.unread:
        document = read_again(document, path=path, limits=limits, password=password, on_page=on_page)
    document = leave_out(document, path=path, limits=limits, password=password)
    return replace(document, language=language_of(document))


def render_page(path: Path, *, page: int, scale: float, limits: Limits) -> bytes:
    """Page ``page`` (from 1) of a PDF as PNG; ``scale`` 1 is 72 pixels an inch, lowered for huge pages."""
    result = run({"act": "render", "path": str(path), "page": page, "scale": scale}, limits)
    try:
        return base64.b64decode(result["png"], validate=True)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise IngestionFailure("malformed") from error


def find_rectangles(
    path: Path, *, page: int, page_text: str, start: int, end: int, limits: Limits
) -> Rectangles:
    """Where ``page_text[start:end]`` stands on page ``page`` (from 1) of a PDF."""
    request = {"act": "rectangles", "path": str(path), "page": page, "page_text": page_text}
    result = run({**request, "start": start, "end": end}, limits)
    try:
        boxes = [(float(a), float(b), float(c), float(d)) for a, b, c, d in result["boxes"]]
        size = float(result["page_width"]), float(result["page_height"])
        aligned = float(result["aligned"])
        if not all(map(math.isfinite, (*size, aligned, *itertools.chain.from_iterable(boxes)))):
            raise ValueError("a place that is no number")
        return Rectangles(size[0], size[1], boxes, aligned)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise IngestionFailure("malformed") from error


def _document(raw: dict[str, Any], limits: Limits) -> ParsedDocument:
    """Checked as far as rows and memory depend on it: a child that a file took over may answer anything."""
    pages: list[ParsedPage] = []
    characters = sum(len(page["text"]) for page in raw["pages"])
    if len(raw["pages"]) > limits.max_pages or characters > 2 * limits.max_characters:
        raise ValueError("far more than the limits allow")
    for page in raw["pages"]:
        text = _string(page["text"])
        headings = tuple(
            Heading(int(heading["start"]), int(heading["level"]), _string(heading["text"]))
            for heading in page["headings"]
            if 0 <= int(heading["start"]) <= len(text)
        )
        number = int(page["number"])
        if not (pages[-1].number if pages else 0) < number <= MOST_NUMBERED:
            raise ValueError("pages out of order")
        pages.append(ParsedPage(number, text, headings, _string(page["label"]), _marks(page["marks"])))
    created = raw["created"]
    return ParsedDocument(
        media_type=_string(raw["media_type"]),
        pages=tuple(pages),
        title=_string(raw["title"]),
        author=_string(raw["author"]),
        created=date.fromisoformat(created) if created else None,
        language=_string(raw["language"]),
        pages_without_text=tuple(int(number) for number in raw["pages_without_text"]),
        protected=bool(raw["protected"]),
        unread=tuple(_unread(item) for item in raw["unread"]),
        drawn=tuple(
            Drawn(int(item["page"]), int(item["number"]), tuple(int(place) for place in item["part"]))
            for item in raw["drawn"]
        ),
        pages_with_hidden_text=tuple(int(number) for number in raw["pages_with_hidden_text"]),
    )


def _marks(raw: dict[str, Any] | None) -> Marks | None:
    if raw is None:
        return None
    starts = tuple(int(start) for start in raw["starts"])
    names = tuple(_string(name) for name in raw["names"])
    if len(starts) != len(names):
        raise ValueError("marks without a name or a place")
    return Marks(_string(raw["unit"]), starts, names)


def _unread(raw: dict[str, Any]) -> Unread:
    return Unread(
        page=int(raw["page"]),
        number=int(raw["number"]),
        why=_string(raw["why"]),
        part=tuple(int(place) for place in raw["part"]),
        outline=tuple((_string(title), int(level)) for title, level in raw["outline"]),
    )


def _string(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("a string was expected")
    return value
