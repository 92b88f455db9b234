"""What a format says about itself, and the finding of all formats that can be read.

A format is one module of :mod:`ingestion.parsers` that declares ``FORMAT`` and has ``parse``; there is no table to add
it to. What always holds: such a module imports its library only in the functions that need it, so that finding all
formats costs next to nothing, and reading a file loads what its own format needs.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Final, Protocol, cast

from ingestion.guards import IngestionFailure, Limits
from ingestion.parsed import ParsedDocument

CERTAIN: Final = 100
"""A sign of a text format that holds whatever the file is called."""
SURE: Final = 80
"""One that holds unless the name promises something that is no text; weaker ones only count without a telling name."""

Sign = Callable[[str, str], bool]
"""Whether a text (its beginning, up to 64 KiB) looks like the format; the second value is the name's extension."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """One media type: how people call it and how its files are known.

    A format of bytes is known by ``magic`` within its first ``magic_within`` bytes, or, in a zip archive, by what
    ``main_part`` finds in ``[Content_Types].xml`` or by the archive's entry ``mimetype``. A format of ``text`` is
    known by the name's extension and by ``signs`` with their weights, heavier ones first.
    ``paged``: its pages have numbers that a reader of the file sees too. ``unit`` is what its pages are called.
    """

    media_type: str
    name: str
    extensions: tuple[str, ...] = ()
    text: bool = False
    paged: bool = False
    unit: str = "page"
    magic: bytes = b""
    magic_within: int = 0
    main_part: re.Pattern[bytes] | None = None
    mimetypes: tuple[str, ...] = ()
    signs: tuple[tuple[int, Sign], ...] = ()


class Parser(Protocol):
    """What a format's module offers."""

    FORMAT: Format

    def parse(self, path: Path, *, limits: Limits, password: str | None) -> ParsedDocument:
        """The document at ``path``; raises :class:`IngestionFailure`, or anything for a broken file."""
        ...


@lru_cache(maxsize=1)
def parsers() -> Mapping[str, Parser]:
    """The parsers by media type."""
    from ingestion import parsers as package

    found: dict[str, Parser] = {}
    for entry in pkgutil.iter_modules(package.__path__):
        module = importlib.import_module(f"{package.__name__}.{entry.name}")
        if hasattr(module, "FORMAT"):
            parser = cast(Parser, module)
            found[parser.FORMAT.media_type] = parser
    return MappingProxyType(found)


@lru_cache(maxsize=1)
def formats() -> tuple[Format, ...]:
    """All formats that can be read, by the name of their module."""
    return tuple(parser.FORMAT for parser in parsers().values())


def parser_for(media_type: str) -> Parser:
    """The parser of ``media_type``; raises ``unsupported`` for an unknown type."""
    try:
        return parsers()[media_type]
    except KeyError:
        raise unsupported() from None


def is_paged(media_type: str) -> bool:
    """Whether a reader of such a file sees the page numbers that we count."""
    parser = parsers().get(media_type)
    return parser is not None and parser.FORMAT.paged


def unit_of(media_type: str) -> str:
    """What the pages of such a file are called: "page", "slide", "sheet"."""
    parser = parsers().get(media_type)
    return parser.FORMAT.unit if parser is not None else "page"


def unsupported(message: str | None = None) -> IngestionFailure:
    """The failure of a file of no format that is read; its remedy names those that are."""
    return IngestionFailure("unsupported", message, remedy=f"Upload {names('or')}.")


def names(joint: str) -> str:
    """The names of all formats as they stand in a sentence: ``A, B and C``."""
    *most, last = sorted((each.name for each in formats()), key=str.casefold)
    return f"{', '.join(most)} {joint} {last}"
