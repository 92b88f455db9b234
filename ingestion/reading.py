"""One page of a document as its reader sees it: its text, and its picture, with the passage marked."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from uuid import UUID

from ingestion import page_images
from ingestion.child import Rectangles
from ingestion.formats import unit_of
from ingestion.guards import IngestionFailure
from ingestion.parsers.pdf import PDF
from search.languages import language_name
from search.models import Chunk, Document, DocumentVersion, Page
from search.places import place_of
from tenants.models import Organization
from tenants.scope import tenant_scope

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ReadingPage:
    """``pieces`` join to the page's text; ``rectangles`` is None where there is no picture or no passage."""

    document: Document
    version: DocumentVersion
    number: int
    label: str
    """What the page is called ("Page 7", "Slide 4", "Sheet Prices")."""
    place: str
    """Where the passage stands in words, or without one the page; empty where the title says all."""
    page_count: int
    pieces: tuple[tuple[str, bool], ...]
    quote: str
    has_image: bool
    rectangles: Rectangles | None
    replaced: bool = False
    """The passage was asked for in a version that is no longer the published one, so nothing is marked."""

    @property
    def language(self) -> str:
        """The English name of the document's language; its code where Django knows no name; empty when unknown."""
        return language_name(self.version.language)

    @property
    def unit(self) -> str:
        """What a page of this file is called."""
        return unit_of(self.version.media_type)

    @property
    def units(self) -> str:
        return f"{self.unit}s"

    @property
    def position(self) -> str:
        """The page's name and where it comes in the file: "Slide 4 of 12", "Sheet Prices (2 of 3)"."""
        if self.label == f"{self.unit.capitalize()} {self.number}":
            return f"{self.label} of {self.page_count}"
        return f"{self.label} ({self.number} of {self.page_count})"

    @property
    def previous(self) -> int | None:
        return self.number - 1 if self.number > 1 else None

    @property
    def next(self) -> int | None:
        return self.number + 1 if self.number < self.page_count else None


def published(organization: Organization, document_id: UUID) -> Document | None:
    """The document with its published version, or None when there is none to see."""
    with tenant_scope(organization):
        return (
            Document.objects.select_related("published", "collection")
            .filter(id=document_id, published__isnull=False)
            .first()
        )


def has_pictures(version: DocumentVersion) -> bool:
    """Whether pages of this file can be drawn."""
    return version.media_type == PDF and not version.protected


def read_page(
    organization: Organization,
    document_id: UUID,
    *,
    number: int,
    start: int,
    end: int,
    version_id: UUID | None = None,
) -> ReadingPage | None:
    """A page of the published version with ``start`` to ``end`` of its text marked; None without one.

    The place is one in ``version_id``, if given. In another version the page is shown without a mark, the first one
    when there is no such page any more.
    """
    document = published(organization, document_id)
    if document is None or document.published is None:
        return None
    version = document.published
    replaced = version_id not in (None, version.id)
    if replaced:
        start = end = 0
    with tenant_scope(organization):
        page = Page.objects.filter(version=version, number=number).first()
        if page is None and replaced:
            page = Page.objects.filter(version=version).order_by("number").first()
        passage = None
        if page is not None and end > start:
            around = Chunk.objects.filter(version=version, page=page.number, start__lte=start, end__gt=start)
            passage = around.order_by("ordinal").first()
    if page is None:
        return None
    number = page.number
    start, end = max(0, min(start, len(page.text))), max(0, min(end, len(page.text)))
    marked = end > start
    pieces = ((page.text[:start], False), (page.text[start:end], True), (page.text[end:], False))
    has_image = has_pictures(version)
    return ReadingPage(
        document=document,
        version=version,
        number=number,
        label=_begun_large(page.label) or f"{unit_of(version.media_type).capitalize()} {number}",
        place=place_of(
            media_type=version.media_type,
            page=number,
            label=page.label,
            headings=passage.headings if passage is not None else (),
            title=document.title,
            within=passage.place if passage is not None else "",
        ),
        page_count=version.page_count,
        pieces=tuple(piece for piece in pieces if piece[0]),
        quote=page.text[start:end],
        has_image=has_image,
        rectangles=_rectangles(organization, version, number, start, end) if has_image and marked else None,
        replaced=replaced,
    )


def _begun_large(label: str) -> str:
    return label[:1].upper() + label[1:]


def as_rects(found: Rectangles | None) -> list[dict[str, float]]:
    """The boxes as ``x, y, width, height`` in units of the page, for an SVG over the picture."""
    boxes = found.boxes if found is not None else []
    return [{"x": x0, "y": y0, "width": x1 - x0, "height": y1 - y0} for x0, y0, x1, y1 in boxes]


def _rectangles(
    organization: Organization, version: DocumentVersion, number: int, start: int, end: int
) -> Rectangles | None:
    try:
        return page_images.page_boxes(organization, version, number, start, end)
    except (IngestionFailure, FileNotFoundError) as failure:
        logger.warning("no rectangles on page %d of version %s: %s", number, version.id, failure)
        return None
