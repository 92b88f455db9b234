"""The limits that a file is held to, and the one way in which reading it fails.

Every refusal of a file is an :class:`IngestionFailure`: a code for programs, a sentence for the person and a
remedy. Archives are judged before anything is unpacked, by their directory, and again while they are read, by
the bytes that really come out: a directory may lie. Imports neither Django nor torch, because the child
process that parses files imports it.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Final, Literal, get_args
from xml.parsers import expat

Code = Literal[
    "encrypted", "malformed", "too_large", "too_many_pages", "bomb", "unsupported", "timeout", "empty"
]
CODES: Final[frozenset[str]] = frozenset(get_args(Code))

TRY_AGAIN_WITH: Final = "Try again with"
"""How the remedy begins where a password opens the file."""

_MESSAGES: Final[dict[str, tuple[str, str]]] = {
    "encrypted": (
        "The file is protected by a password.",
        f"{TRY_AGAIN_WITH} its password, or remove the password and upload the file again.",
    ),
    "malformed": (
        "The file is damaged and could not be read.",
        "Open it in the program that made it, save it again, and upload that copy.",
    ),
    "too_large": (
        "The file needs more memory or holds more text than is allowed.",
        "Split the file into smaller ones and upload those.",
    ),
    "too_many_pages": (
        "The file has more pages than are allowed.",
        "Split the file into smaller ones and upload those.",
    ),
    "bomb": (
        "The file unpacks to far more data than its size promises, so it was not opened.",
        "If you trust its source, save it again in the program that made it, and upload that copy.",
    ),
    "unsupported": (
        "Files of this kind cannot be read.",
        "Save it as PDF, or as another of the formats that the upload page names, and upload that copy.",
    ),
    "timeout": (
        "Reading the file took longer than is allowed.",
        "Split the file into smaller ones, or save it again in the program that made it.",
    ),
    "empty": (
        "The file holds no text.",
        "Check that it is the file you mean; pictures of text need text recognition (OCR) first.",
    ),
}

# Below this much unpacked data a high ratio is harmless: a small sheet of equal cells compresses 300 times.
_RATIO_FLOOR: Final = 16 * 1024 * 1024
_READ_SIZE: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """What reading one file may cost. Sizes in MiB, times in seconds."""

    memory_mb: int = 1024
    cpu_s: int = 60
    wall_s: int = 90
    page_s: int = 15
    """Of one page of a PDF, for each of its readers but OCR."""
    max_pages: int = 2000
    max_characters: int = 20_000_000
    max_archive_ratio: int = 200
    max_unpacked_mb: int = 512
    max_archive_entries: int = 10_000
    max_nesting: int = 3
    """Messages inside of messages."""
    max_attachments: int = 100
    ocr_max_pages: int = 100
    """Pages of one file that are read from their pictures; 0: none."""
    ocr_page_s: int = 60
    ocr_memory_mb: int = 1536


class IngestionFailure(Exception):
    """A file that cannot become a document. ``str()`` is a sentence for the person who uploaded it.

    ``code`` is one of :data:`CODES`; ``remedy`` is a sentence that says what to do.
    """

    def __init__(self, code: Code, message: str | None = None, *, remedy: str | None = None) -> None:
        standard_message, standard_remedy = _MESSAGES[code]
        super().__init__(message or standard_message)
        self.code: Code = code
        self.remedy = remedy or standard_remedy


def wrong_password() -> IngestionFailure:
    """The failure of a protected file for which a password was given."""
    return IngestionFailure(
        "encrypted",
        "The password did not open the file.",
        remedy=f"{TRY_AGAIN_WITH} another password, or remove the password and upload the file again.",
    )


class TextBudget:
    """Counts the characters kept of one file; raises ``too_large`` beyond the limit."""

    def __init__(self, limits: Limits) -> None:
        self._left = limits.max_characters

    @property
    def left(self) -> int:
        """The characters that may still be spent."""
        return self._left

    def spend(self, characters: int) -> None:
        self._left -= characters
        if self._left < 0:
            raise IngestionFailure("too_large", "The file holds more text than is allowed.")


class Archive:
    """A zip file opened under limits. Every byte that comes out of it is counted.

    Raises ``malformed`` for a broken archive, ``encrypted`` for protected entries and ``bomb`` where the
    directory, or the data itself, unpacks beyond the limits.
    """

    def __init__(self, file: IO[bytes], limits: Limits) -> None:
        try:
            self._zip = zipfile.ZipFile(file)
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
            raise IngestionFailure("malformed") from error
        self._left = limits.max_unpacked_mb * 1024 * 1024
        self.names: frozenset[str] = frozenset(self._zip.namelist())
        self._check_directory(limits)

    def _check_directory(self, limits: Limits) -> None:
        entries = self._zip.infolist()
        if len(entries) > limits.max_archive_entries:
            raise IngestionFailure("bomb", "The file is an archive with more entries than are allowed.")
        if any(entry.flag_bits & 0x1 for entry in entries):
            raise IngestionFailure(
                "encrypted",
                "Parts of the file are encrypted in a way that its password does not open here.",
                remedy="Remove the password and upload the file again.",
            )
        unpacked = sum(entry.file_size for entry in entries)
        packed = sum(entry.compress_size for entry in entries)
        if unpacked > self._left:
            raise IngestionFailure("bomb")
        if unpacked > _RATIO_FLOOR and unpacked > limits.max_archive_ratio * max(packed, 1):
            raise IngestionFailure("bomb")

    def open(self, name: str) -> IO[bytes]:
        """The entry as a stream whose bytes count against the limit. Raises ``malformed`` if it is absent."""
        try:
            return _Counted(self._zip.open(name), self)  # type: ignore[return-value]
        except (KeyError, zipfile.BadZipFile, NotImplementedError, OSError) as error:
            raise IngestionFailure("malformed") from error

    def read(self, name: str, *, at_most: int) -> bytes:
        """The whole entry; raises ``bomb`` where it is longer than ``at_most`` bytes."""
        with self.open(name) as stream:
            data = stream.read(at_most + 1)
        if len(data) > at_most:
            raise IngestionFailure("bomb")
        return data

    def spend(self, count: int) -> None:
        self._left -= count
        if self._left < 0:
            raise IngestionFailure("bomb")

    def refuse_entities(self) -> None:
        """Refuses every XML part that declares entities of its own ("billion laughs").

        Office formats never need them. A declared external entity is left standing: parsers here resolve
        none, so that neither a file nor the network is ever read for one.
        """
        for name in sorted(self.names):
            if name.lower().endswith((".xml", ".rels", ".vml")):
                with self.open(name) as stream:
                    _refuse_entities_in(_blocks(stream))


class _Counted:
    """The reading side of a zip entry; each block is charged to its archive."""

    def __init__(self, stream: IO[bytes], archive: Archive) -> None:
        self._stream = stream
        self._archive = archive

    def read(self, size: int = -1) -> bytes:
        try:
            data = self._stream.read(size if size is not None and size >= 0 else -1)
        except (zipfile.BadZipFile, EOFError, OSError, NotImplementedError) as error:
            raise IngestionFailure("malformed") from error
        except Exception as error:  # zlib.error, lzma.LZMAError: whatever the codec of the entry raises
            raise IngestionFailure("malformed") from error
        self._archive.spend(len(data))
        return data

    def close(self) -> None:
        self._stream.close()

    def __enter__(self) -> _Counted:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _blocks(stream: IO[bytes]) -> Iterator[bytes]:
    while block := stream.read(_READ_SIZE):
        yield block


class _PrologRead(Exception):
    """The root element has begun: no declaration can follow."""


def _refuse_entities_in(blocks: Iterator[bytes]) -> None:
    parser = expat.ParserCreate()

    def on_entity(
        name: str,
        is_parameter: bool,
        value: str | None,
        base: str | None,
        system: str | None,
        public: str | None,
        notation: str | None,
    ) -> None:
        if value is not None or is_parameter:
            raise IngestionFailure("bomb", "The file declares XML entities, so it was not opened.")

    def on_start(name: str, attributes: dict[str, str]) -> None:
        raise _PrologRead

    parser.EntityDeclHandler = on_entity
    parser.StartElementHandler = on_start
    try:
        for block in blocks:
            parser.Parse(block, False)
    except _PrologRead:
        return
    except expat.ExpatError:
        return  # the format's own parser judges broken XML; no entity was declared up to here
