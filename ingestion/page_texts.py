"""The texts of single pages of a PDF, read one by one by pdfium or by text recognition (OCR).

Runs only inside the limited child process. What always holds: each page's text is written before the next page is
begun, so that a page that ends the process costs no other; and a page that takes longer than it may ends it.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from ingestion.guards import IngestionFailure


def write(request: dict[str, Any], out: IO[bytes]) -> None:
    """Writes a line of JSON for each page of ``request["pages"]``.

    The file is the uploaded one, or the attachment of it that ``request["part"]`` leads to.
    """
    path = Path(request["path"])
    if request["part"]:
        from ingestion.parsers import eml

        path = eml.attachment(path, request["part"])
    for number, text in _texts(
        request["reader"], path, request["pages"], request["password"], request["page_s"]
    ):
        _line(out, {"page": number, "text": text})


def _texts(
    reader: str, path: Path, pages: Iterable[int], password: str | None, page_s: float
) -> Iterator[tuple[int, str]]:
    from ingestion.parsers import pdf

    if reader == "visible":
        from ingestion import visible

        return _timed(visible.texts(path, pages, password), page_s)
    if reader == "ocr":
        from ingestion import ocr

        return _timed(ocr.texts(path, pages, password), page_s)
    return _timed(((number, text or "") for number, text in pdf.by_pdfium(path, pages, password)), page_s)


def _timed(found: Iterator[tuple[int, str]], page_s: float) -> Iterator[tuple[int, str]]:
    """``found``, with SIGALRM, which nobody handles, for a page that takes longer than ``page_s`` seconds."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    while True:
        signal.setitimer(signal.ITIMER_REAL, page_s)
        try:
            item = next(found, None)
        except IngestionFailure:
            return
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        if item is None:
            return
        yield item


def _line(out: IO[bytes], answer: dict[str, Any]) -> None:
    out.write(json.dumps(answer).encode("ascii") + b"\n")
    out.flush()
