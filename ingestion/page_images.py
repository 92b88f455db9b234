"""Pictures of PDF pages, and where on them a passage stands. Made in the limited child process, then kept.

What always holds: pictures lie under ``pages/<organisation>/<version>/`` of the state folder and are removed
with their version; at most two are being made at a time, so that a long document cannot take the machine.
"""

from __future__ import annotations

import shutil
import threading
import uuid
from pathlib import Path

from django.conf import settings
from django.core.cache import cache

from ingestion import child, files
from ingestion.child import Rectangles, limits
from search.models import DocumentVersion, Page
from tenants.models import Organization
from tenants.scope import tenant_scope

SCALE = 1.75
"""Pixels per PDF point: 126 dpi, sharp on a screen."""
KEEP_RECTANGLES_SECONDS = 3600

_at_a_time = threading.BoundedSemaphore(2)


def page_png(organization: Organization, version: DocumentVersion, page: int) -> bytes:
    """The picture of a page (counted from 1) as PNG.

    Raises ``IngestionFailure`` where the page cannot be drawn, ``FileNotFoundError`` where the file is gone.
    """
    kept = _folder(organization, version.id) / f"{page}.png"
    if kept.is_file():
        return kept.read_bytes()
    with _at_a_time:
        if kept.is_file():
            return kept.read_bytes()
        with files.local_copy(version.file) as path:
            png = child.render_page(path, page=page, scale=SCALE, limits=limits())
    kept.parent.mkdir(parents=True, exist_ok=True)
    fresh = kept.with_suffix(f".{uuid.uuid4().hex}.tmp")
    fresh.write_bytes(png)
    fresh.replace(kept)
    with tenant_scope(organization):
        removed = not DocumentVersion.objects.filter(id=version.id).exists()
    if removed:
        forget(organization, version.id)
        raise FileNotFoundError("The version was removed while its page was drawn.")
    return png


def page_boxes(
    organization: Organization, version: DocumentVersion, page: int, start: int, end: int
) -> Rectangles:
    """Where the code points ``start`` to ``end`` of the page's text stand on its picture.

    Raises like :func:`page_png`.
    """
    key = f"boxes:{organization.pk}:{version.id}:{page}:{start}:{end}"
    kept = cache.get(key)
    if isinstance(kept, Rectangles):
        return kept
    with tenant_scope(organization):
        text = Page.objects.filter(version=version, number=page).values_list("text", flat=True).first()
    with _at_a_time, files.local_copy(version.file) as path:
        found = child.find_rectangles(
            path, page=page, page_text=text or "", start=start, end=end, limits=limits()
        )
    cache.set(key, found, KEEP_RECTANGLES_SECONDS)
    return found


def forget(organization: Organization, version_id: uuid.UUID) -> None:
    """Removes all pictures of a version."""
    shutil.rmtree(_folder(organization, version_id), ignore_errors=True)


def _folder(organization: Organization, version_id: uuid.UUID) -> Path:
    return Path(settings.VAR) / "pages" / str(organization.pk) / str(version_id)


def forget_organization(organization: Organization) -> None:
    """Deletes every picture of the organisation's pages. May be repeated."""
    shutil.rmtree(Path(settings.VAR) / "pages" / str(organization.pk), ignore_errors=True)
