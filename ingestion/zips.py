"""A zip of documents, read under limits: what is in it, which members may be read, and the bytes of one at a time.

What always holds: the directory is judged by its size before it is read, and a member by its entry before it is
unpacked; no member's name becomes a path; nothing is unpacked anywhere but into the storage.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from ingestion.refusals import UploadRefused

MOST_MEMBERS = 1000
MOST_UNPACKED = 1 << 30
MOST_RATIO = 200
RATIO_FLOOR = 16 << 20
"""Below this size a high ratio is harmless."""
MOST_DIRECTORY = 4 << 20
"""Bytes of the directory; reading one takes memory ten times its size."""
_BLOCK = 64 * 1024
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""Others unpack a whole block of theirs, of any size, before the first byte of it can be counted."""
_DIRECTORY_SIZE = 5
"""Its place in the record of a zip's end, also of one of more than 4 GB."""
_NOT_DOCUMENTS = ("[Content_Types].xml", "mimetype")
"""A zip with one of these is itself a document: docx, pptx, xlsx, odt, epub."""


def holds_documents(path: Path) -> bool:
    """Whether the file is a plain zip, and no document that only looks like one from outside."""
    with path.open("rb") as file:
        if not _has_small_directory(file):
            return False
        try:
            names = set(zipfile.ZipFile(file).namelist())
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
            return False
    return not names.intersection(_NOT_DOCUMENTS)


def open_zip(file: IO[bytes]) -> zipfile.ZipFile:
    """The archive. Raises :class:`UploadRefused`: ``malformed``, or ``too_large`` for too many members or bytes."""
    if not _has_small_directory(file):
        raise _too_many()
    try:
        archive = zipfile.ZipFile(file)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise UploadRefused(
            "malformed", "The zip is damaged and could not be opened.", "Make it anew and upload it again."
        ) from error
    found = members(archive)
    if len(found) > MOST_MEMBERS:
        raise _too_many()
    if sum(each.file_size for each in found) > MOST_UNPACKED:
        raise UploadRefused(
            "bomb", f"The zip unpacks to more than {MOST_UNPACKED >> 20} MB.", "Split it into several.", 413
        )
    return archive


def members(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """Its files, without folders and what systems add of their own (``__MACOSX``, hidden files, ``Thumbs.db``)."""
    return [each for each in archive.infolist() if not each.is_dir() and not _is_litter(each.filename)]


def refuse_member(member: zipfile.ZipInfo) -> None:
    """Refuses by the entry alone. Raises :class:`UploadRefused`."""
    parts = PurePosixPath(member.filename.replace("\\", "/")).parts
    if not parts or ".." in parts or parts[0] == "/" or parts[0].endswith(":"):
        raise UploadRefused(
            "unsafe_name", "The name leads out of the zip.", "Make the zip anew, from inside its folder."
        )
    if member.flag_bits & 0x1:
        raise UploadRefused(
            "encrypted", "The file is protected by the zip's password.", "Make the zip without a password."
        )
    if member.compress_type not in _METHODS:
        raise UploadRefused(
            "unsupported",
            "The file is packed by a method that is not read, such as bzip2 or LZMA.",
            "Make the zip with the usual method (deflate).",
            415,
        )
    if member.file_size > RATIO_FLOOR and member.file_size > MOST_RATIO * max(member.compress_size, 1):
        raise UploadRefused(
            "bomb",
            "The file unpacks to far more data than its size promises, so it was not opened.",
            "Upload it by itself, if you trust its source.",
            413,
        )


def read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Iterator[bytes]:
    """Its bytes, block by block. Raises :class:`UploadRefused` where they are damaged."""
    try:
        with archive.open(member) as stream:
            while block := stream.read(_BLOCK):
                yield block
    except UploadRefused:
        raise
    except Exception as error:  # zlib.error, lzma.LZMAError: whatever the codec of the member raises
        raise UploadRefused(
            "malformed", "The file is damaged inside the zip.", "Make the zip anew and upload it again."
        ) from error


def _has_small_directory(file: IO[bytes]) -> bool:
    """By the records at the end of a zip, found as :mod:`zipfile` finds them, before it reads the directory into memory.

    Its own function is asked, though private: another reader of these records could be shown another size.
    """
    try:
        record = zipfile._EndRecData(file)  # type: ignore[attr-defined]
    except (zipfile.BadZipFile, OSError, ValueError):
        record = None
    finally:
        file.seek(0)
    if record is None:
        return True  # no zip at all, as will be found out
    return int(record[_DIRECTORY_SIZE]) <= MOST_DIRECTORY


def _is_litter(name: str) -> bool:
    parts = PurePosixPath(name.replace("\\", "/")).parts
    return "__MACOSX" in parts or (bool(parts) and (parts[-1].startswith("._") or parts[-1] in _LITTER))


_LITTER = frozenset({".DS_Store", "Thumbs.db", "desktop.ini"})


def _too_many() -> UploadRefused:
    return UploadRefused(
        "too_large", f"The zip holds more than {MOST_MEMBERS} files.", "Split it into several.", 413
    )
