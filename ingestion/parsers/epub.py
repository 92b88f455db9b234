"""Electronic books: the documents of the spine in the order of reading, each as a page read as HTML.

A page goes by its first heading: no two readers of books count the same pages.
"""

from __future__ import annotations

import posixpath
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from ingestion.formats import Format
from ingestion.guards import Archive, IngestionFailure, Limits, TextBudget
from ingestion.parsed import ParsedDocument, ParsedPage
from ingestion.parsers import html, ooxml
from ingestion.parsers.ooxml import local
from ingestion.text import PageBuilder

EPUB = "application/epub+zip"
FORMAT = Format(media_type=EPUB, name="EPUB", extensions=("epub",), unit="section", mimetypes=(EPUB,))
_CONTAINER = "META-INF/container.xml"
_LARGEST_CHAPTER = 64 * 1024 * 1024
_FONTS = ("http://www.idpf.org/2008/embedding", "http://ns.adobe.com/pdf/enc#RC")


def parse(path: Path, *, limits: Limits, password: str | None) -> ParsedDocument:
    """Raises ``encrypted`` for a book under digital rights management, ``malformed`` without a spine."""
    with path.open("rb") as file:
        archive = Archive(file, limits)
        archive.refuse_entities()
        _refuse_rights_management(archive)
        package = _package_name(archive)
        root = ooxml.tree(archive, package)
        chapters = _chapters(root, posixpath.dirname(package), archive)
        if len(chapters) > limits.max_pages:
            raise IngestionFailure("too_many_pages")
        budget = TextBudget(limits)
        pages: list[ParsedPage] = []
        for name in chapters:
            number = len(pages) + 1
            page = PageBuilder(number, budget)
            html.add_to(page, archive.read(name, at_most=_LARGEST_CHAPTER))
            if (built := page.build()).text:
                name_of_first = built.headings[0].text if built.headings else ""
                pages.append(replace(built, label=name_of_first[:200] or f"Section {number}"))
    facts = _facts(root)
    if not pages:
        raise IngestionFailure("empty")
    return ParsedDocument(
        EPUB,
        tuple(pages),
        facts.get("title", ""),
        facts.get("creator", ""),
        _day(facts.get("date", "")),
        facts.get("language", ""),
    )


def _refuse_rights_management(archive: Archive) -> None:
    """Scrambled fonts are common and harmless; anything else that is encrypted is the text."""
    if "META-INF/encryption.xml" not in archive.names:
        return
    for item in ooxml.tree(archive, "META-INF/encryption.xml").iter():
        if local(item) == "EncryptionMethod" and item.get("Algorithm") not in _FONTS:
            raise IngestionFailure(
                "encrypted",
                "The book is protected by digital rights management.",
                remedy="Upload a copy without protection.",
            )


def _package_name(archive: Archive) -> str:
    if _CONTAINER in archive.names:
        for item in ooxml.tree(archive, _CONTAINER).iter():
            if local(item) == "rootfile" and item.get("full-path", "") in archive.names:
                return str(item.get("full-path"))
    raise IngestionFailure("malformed")


def _chapters(root: Any, folder: str, archive: Archive) -> list[str]:
    """Names of the spine's documents in the archive."""
    manifest: dict[str, str] = {}
    for item in root.iter():
        if local(item) == "item" and "html" in item.get("media-type", ""):
            target = posixpath.normpath(posixpath.join(folder, unquote(item.get("href", ""))))
            manifest[item.get("id", "")] = target
    wanted = [manifest.get(item.get("idref", ""), "") for item in root.iter() if local(item) == "itemref"]
    return [name for name in dict.fromkeys(wanted) if name in archive.names]


def _facts(root: Any) -> dict[str, str]:
    """The first title, creator, date and language of the package."""
    facts: dict[str, str] = {}
    for item in root.iter("*"):
        if local(item) in ("title", "creator", "date", "language") and (item.text or "").strip():
            facts.setdefault(local(item), item.text.strip())
    return facts


def _day(value: str) -> date | None:
    try:
        return date.fromisoformat(value[:10])
    except ValueError:
        return None
