"""What docx, pptx and xlsx share: parts, relationships and core properties, read as streams under limits."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Any

from ingestion.guards import Archive

SAFE: dict[str, Any] = {"resolve_entities": False, "no_network": True, "load_dtd": False, "huge_tree": False}


def local(element: Any) -> str:
    """The element's name without its namespace; empty for comments and entities."""
    tag = element.tag
    return tag.rpartition("}")[2] if isinstance(tag, str) else ""


def attribute(element: Any, name: str) -> str:
    """The attribute ``name`` of any namespace; empty if absent."""
    for key, value in element.attrib.items():
        if key.rpartition("}")[2] == name:
            return str(value)
    return ""


def events(archive: Archive, name: str) -> Iterator[tuple[str, Any]]:
    """lxml's start and end events of a part. No entity is resolved and nothing outside is read."""
    from lxml import etree

    with archive.open(name) as stream:
        yield from etree.iterparse(stream, events=("start", "end"), **SAFE)


def tree(archive: Archive, name: str) -> Any:
    """The part as an lxml element tree's root; parts of up to 64 MiB."""
    from lxml import etree

    return etree.fromstring(archive.read(name, at_most=64 * 1024 * 1024), etree.XMLParser(**SAFE))


def related(archive: Archive, part: str) -> dict[str, tuple[str, str]]:
    """Relationship id -> (last word of its type, part name), for relationships inside the archive."""
    folder, base = posixpath.split(part)
    name = posixpath.join(folder, "_rels", base + ".rels")
    found: dict[str, tuple[str, str]] = {}
    if name in archive.names:
        for item in tree(archive, name):
            if local(item) == "Relationship" and item.get("TargetMode") != "External":
                target = posixpath.normpath(posixpath.join("/", folder, item.get("Target", ""))).lstrip("/")
                found[item.get("Id", "")] = (item.get("Type", "").rpartition("/")[2], target)
    return found


def main_part(archive: Archive, usual: str) -> str:
    """The part that the archive calls its office document; ``usual`` where it does not say."""
    for kind, target in related(archive, "").values():
        if kind == "officeDocument" and target in archive.names:
            return target
    return usual


@dataclass(frozen=True, slots=True)
class Core:
    """The core properties of a file."""

    title: str = ""
    author: str = ""
    created: date | None = None


def core(archive: Archive) -> Core:
    """Title, author and date of creation; empty where absent or broken."""
    from lxml import etree

    if "docProps/core.xml" not in archive.names:
        return Core()
    try:
        facts = {local(item): (item.text or "") for item in tree(archive, "docProps/core.xml")}
    except etree.XMLSyntaxError:
        return Core()
    try:
        created = date.fromisoformat(facts.get("created", "")[:10])
    except ValueError:
        created = None
    return Core(facts.get("title", ""), facts.get("creator", ""), created)
