"""Starts the limited child process that reads a file, and turns whatever becomes of it into a value or a
typed failure.

What always holds: the child is started by ``subprocess`` without ``preexec_fn`` (the caller has threads),
with an environment of its own, in a session of its own that is killed whole when the time is up. A child that
dies, hangs or answers nonsense is an :class:`~ingestion.guards.IngestionFailure`;
nothing it writes is trusted, and what it leaves in its folder for temporary files is removed. A child does not
outlive its parent, however that ends: it holds one end of a pipe whose other end only the parent has.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Final, cast

from django.conf import settings

from ingestion.guards import CODES, Code, IngestionFailure, Limits
from ingestion.parsed import Heading, ParsedDocument, ParsedPage

_ROOT: Final = Path(__file__).resolve().parent.parent
_ENVIRONMENT: Final = {
    "PYTHONPATH": str(_ROOT),
    "LANG": "C.UTF-8",
    "PYTHONUTF8": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
    "OPENBLAS_NUM_THREADS": "1",  # each thread reserves address space, which RLIMIT_AS counts
    "OMP_NUM_THREADS": "1",
}


SCRATCH: Final = "tessera-read-"
"""How the folder for a child's temporary files begins."""
SCRATCH_MARGIN_SECONDS: Final = 60.0


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
        cpu_s=env.parse_wall_seconds,
        wall_s=env.parse_wall_seconds,
        max_pages=env.parse_max_pages,
    )


def remove_left_overs(*, now: float) -> int:
    """Removes the temporary folders of children whose parent was killed: those that are older at ``now`` (seconds
    since 1970) than any child may get. Returns how many."""
    oldest = now - limits().wall_s - SCRATCH_MARGIN_SECONDS
    removed = 0
    for folder in Path(tempfile.gettempdir()).glob(f"{SCRATCH}*"):
        with contextlib.suppress(OSError):  # another process removes it too
            if folder.stat().st_mtime < oldest:
                shutil.rmtree(folder)
                removed += 1
    return removed


def parse_file(path: Path, *, filename: str, limits: Limits, password: str | None = None) -> ParsedDocument:
    """The document in the file at ``path``, uploaded as ``filename``. Raises :class:`IngestionFailure`."""
    request = {"act": "parse", "path": str(path), "filename": filename, "password": password}
    result = _run(request, limits)
    try:
        return _document(result)
    except (KeyError, TypeError, ValueError) as error:
        raise IngestionFailure("malformed") from error


def render_page(path: Path, *, page: int, scale: float, limits: Limits) -> bytes:
    """Page ``page`` (from 1) of a PDF as PNG; ``scale`` 1 is 72 pixels an inch, lowered for huge pages."""
    result = _run({"act": "render", "path": str(path), "page": page, "scale": scale}, limits)
    try:
        return base64.b64decode(result["png"], validate=True)
    except (KeyError, TypeError, ValueError) as error:
        raise IngestionFailure("malformed") from error


def find_rectangles(
    path: Path, *, page: int, page_text: str, start: int, end: int, limits: Limits
) -> Rectangles:
    """Where ``page_text[start:end]`` stands on page ``page`` (from 1) of a PDF."""
    request = {"act": "rectangles", "path": str(path), "page": page, "page_text": page_text}
    result = _run({**request, "start": start, "end": end}, limits)
    try:
        boxes = [(float(a), float(b), float(c), float(d)) for a, b, c, d in result["boxes"]]
        size = float(result["page_width"]), float(result["page_height"])
        return Rectangles(size[0], size[1], boxes, float(result["aligned"]))
    except (KeyError, TypeError, ValueError) as error:
        raise IngestionFailure("malformed") from error


def _run(request: dict[str, Any], limits: Limits) -> dict[str, Any]:
    request = {**request, "path": str(Path(request["path"]).resolve()), "limits": dataclasses.asdict(limits)}
    with (
        _lifeline() as lifeline,
        tempfile.TemporaryFile() as asked,
        tempfile.TemporaryFile() as answered,
        tempfile.TemporaryDirectory(prefix=SCRATCH, ignore_cleanup_errors=True) as scratch,
    ):
        asked.write(json.dumps({**request, "lifeline": lifeline}).encode("ascii"))
        asked.seek(0)
        process = subprocess.Popen(
            [sys.executable, "-P", "-s", "-m", "ingestion.parse_child"],
            stdin=asked,
            stdout=answered,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env={**_ENVIRONMENT, "TMPDIR": scratch},
            start_new_session=True,
            close_fds=True,
            pass_fds=[lifeline],
        )
        try:
            status = process.wait(timeout=limits.wall_s)
        except subprocess.TimeoutExpired:
            raise IngestionFailure("timeout") from None
        finally:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        if status != 0:
            raise _death(status)
        answered.seek(0)
        body = answered.read(6 * limits.max_characters + 128 * 1024 * 1024)
    try:
        answer = json.loads(body)
        if failure := answer.get("failure"):
            code = cast(Code, failure["code"]) if failure["code"] in CODES else "malformed"
            raise IngestionFailure(code, str(failure["message"])[:500], remedy=str(failure["remedy"])[:500])
        result = answer["result"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise IngestionFailure("malformed") from error
    if not isinstance(result, dict):
        raise IngestionFailure("malformed")
    return result


@contextlib.contextmanager
def _lifeline() -> Iterator[int]:
    """The end of a pipe that the child gets; it hangs up when this process ends, or leaves the block."""
    for_child, ours = os.pipe()  # neither is inherited by a program that does not ask for it
    try:
        yield for_child
    finally:
        os.close(ours)
        os.close(for_child)


def _death(status: int) -> IngestionFailure:
    """The failure that fits a child that ended without an answer."""
    if status == -signal.SIGXCPU:
        return IngestionFailure("timeout")
    if status in (-signal.SIGKILL, -signal.SIGXFSZ):
        return IngestionFailure("too_large")
    return IngestionFailure("malformed")


def _document(raw: dict[str, Any]) -> ParsedDocument:
    pages = []
    for page in raw["pages"]:
        text = _string(page["text"])
        headings = tuple(
            Heading(int(heading["start"]), int(heading["level"]), _string(heading["text"]))
            for heading in page["headings"]
            if 0 <= int(heading["start"]) <= len(text)
        )
        pages.append(ParsedPage(int(page["number"]), text, headings, _string(page["label"])))
    created = raw["created"]
    return ParsedDocument(
        media_type=_string(raw["media_type"]),
        pages=tuple(pages),
        title=_string(raw["title"]),
        author=_string(raw["author"]),
        created=date.fromisoformat(created) if created else None,
        language=_string(raw["language"]),
        pages_without_text=tuple(int(number) for number in raw["pages_without_text"]),
    )


def _string(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("a string was expected")
    return value
