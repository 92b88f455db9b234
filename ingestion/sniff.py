"""What a file is, by its content. A name is only asked where two kinds of text cannot be told apart.

What always holds: a file whose bytes are of no supported kind is refused, whatever its name says, and a file
whose name promises a binary format but whose content is mere text is refused too. How each kind is known is declared by
its own module (:class:`ingestion.formats.Format`); here is only the order in which they are asked.
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path, PurePath
from typing import Final

from ingestion import protected_office
from ingestion.formats import CERTAIN, SURE, Format, Sign, formats, unsupported
from ingestion.guards import Archive, IngestionFailure, Limits
from ingestion.text import decode

_ZIP: Final = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")
_FOREIGN: Final = (
    b"MZ", b"\x7fELF", b"\xca\xfe\xba\xbe", b"\xfe\xed\xfa", b"\xcf\xfa\xed\xfe", b"\xce\xfa\xed\xfe",
    b"\x89PNG", b"GIF8", b"\xff\xd8\xff", b"II*\x00", b"MM\x00*", b"RIFF", b"OggS", b"ID3", b"fLaC",
    b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00", b"7z\xbc\xaf\x27\x1c", b"Rar!", b"\x28\xb5\x2f\xfd",
    b"SQLite format 3\x00", b"\x00asm", b"!<arch>", b"%!PS",
)  # fmt: skip
# Names that promise something else than text: text under such a name is not what its owner thinks it is. Those of the
# formats of bytes that are read are added to them.
_FOREIGN_NAMES: Final = frozenset([
    "docm", "dotx", "pptm", "ppsx", "xlsm", "xltx", "doc", "dot", "xls", "xlt", "ppt", "pps", "ods", "odp", "odg",
    "msg", "mbox", "zip", "gz", "tar", "7z", "rar", "exe", "dll", "so", "msi", "com", "bin", "iso", "png", "jpg",
    "jpeg", "gif", "tif", "tiff", "bmp", "webp", "svg", "mp3", "mp4", "avi", "mov", "wav",
])  # fmt: skip
_CONTROLS: Final = re.compile(r"[\x01-\x08\x0e-\x1a\x1c-\x1f\ufffd]")
_HEAD: Final = 64 * 1024
_PLAIN: Final = "text/plain"


def sniff(path: Path, filename: str, *, limits: Limits | None = None) -> str:
    """The media type of the file at ``path``, one of :func:`ingestion.formats.formats`.

    Raises :class:`IngestionFailure`: ``empty`` for no bytes, ``encrypted`` for a protected office file,
    ``malformed`` for a broken archive, ``bomb`` for one beyond the limits, else ``unsupported``.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD)
    if not head.strip(b"\x00 \t\r\n"):
        raise IngestionFailure("empty", remedy="Upload a file that holds text.")
    if head.startswith(protected_office.OLE2):
        raise protected_office.failure(path)
    if head.startswith(_ZIP):
        return _archive_kind(path, limits or Limits())
    extension = PurePath(filename).suffix.lower().lstrip(".")
    words = extension in _by_name() and b"\x00" not in head  # which may begin with "MZ" or mention "%PDF-"
    if head.startswith(_FOREIGN) and not words:
        raise unsupported()
    for known in formats():
        if known.magic and _has_magic(known, head, extension, words):
            return known.media_type
    return _text_kind(head, extension)


def _has_magic(known: Format, head: bytes, extension: str, words: bool) -> bool:
    if head.lstrip().startswith(known.magic):
        return True
    beginning = head[: known.magic_within]
    return known.magic in beginning and not words and not _sure_text(beginning.decode("latin-1"), extension)


@lru_cache(maxsize=1)
def _by_name() -> dict[str, Format]:
    return {extension: each for each in formats() if each.text for extension in each.extensions}


@lru_cache(maxsize=1)
def _not_text() -> frozenset[str]:
    return _FOREIGN_NAMES.union(*(each.extensions for each in formats() if not each.text))


@lru_cache(maxsize=1)
def _signs() -> tuple[tuple[int, Sign, str], ...]:
    """All signs of text formats, the heaviest first."""
    every = [(weight, sign, each.media_type) for each in formats() for weight, sign in each.signs]
    return tuple(sorted(every, key=lambda sign: -sign[0]))


def _archive_kind(path: Path, limits: Limits) -> str:
    with path.open("rb") as file:
        archive = Archive(file, limits)
        if "mimetype" in archive.names:
            return _kind_by_mimetype(archive)
        if "[Content_Types].xml" not in archive.names:
            raise unsupported()
        types = archive.read("[Content_Types].xml", at_most=4 * 1024 * 1024)
    for each in formats():
        if each.main_part is not None and each.main_part.search(types):
            return each.media_type
    raise unsupported()


def _kind_by_mimetype(archive: Archive) -> str:
    """The kind of an OpenDocument file or an EPUB book, whose first entry names it."""
    named = archive.read("mimetype", at_most=256).strip().decode("ascii", "replace")
    for each in formats():
        if named in each.mimetypes:
            return each.media_type
    raise unsupported()


def _text_kind(head: bytes, extension: str) -> str:
    text = decode(head)
    if len(_CONTROLS.findall(text)) + text.count("\x00") > 2 + 0.05 * len(text):
        raise unsupported()
    named = _by_name().get(extension)
    if named is None and (certain := _kind_by_signs(text, extension, CERTAIN, CERTAIN + 1)):
        return certain
    if extension in _not_text():
        raise unsupported(f"The file is named .{extension}, but holds something else.")
    if sure := _kind_by_signs(text, extension, SURE, CERTAIN):
        return sure
    if text.lstrip("\ufeff \t\r\n").startswith(("<?xml", "<svg")) and named is None:
        raise unsupported()
    if named is not None:
        return named.media_type
    return _kind_by_signs(text, extension, 0, SURE) or _PLAIN


def _sure_text(text: str, extension: str) -> bool:
    return bool(_kind_by_signs(text, extension, SURE, CERTAIN))


def _kind_by_signs(text: str, extension: str, at_least: int, below: int) -> str:
    """The media type of the heaviest sign of these weights that the text bears; empty without one."""
    return next(
        (kind for weight, sign, kind in _signs() if at_least <= weight < below and sign(text, extension)), ""
    )
