"""Rows, points and files of every organisation compared, and brought in step: `manage.py audit_index`.

What always holds: rows are the record. A point or a file that no row explains is a leak and goes; a published passage
without its point gets it back from its row; a version whose file is gone is only reported, for nothing can bring it back.
A file is a leak an hour after it was written, since an upload writes its file first and its rows right after.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.files.storage import default_storage
from django.utils import timezone

from ingestion import files
from search import reindex
from search.corpus import stored_files
from search.index.opening import drop_orphan
from search.maintenance import Write
from search.models import DocumentVersion
from tenants.models import Organization
from tenants.scope import tenant_scope

SHOWN = 20
"""Names printed of each kind."""


@dataclass(frozen=True, slots=True)
class FileAudit:
    """How the stored files of one organisation differ from its rows."""

    stored: int
    stray: tuple[str, ...] = ()
    """Keys of files that no version names, an hour old at least."""
    missing: tuple[str, ...] = ()
    """Ids of versions whose file is not there."""
    pictures: tuple[Path, ...] = ()
    """Folders of pictures of versions that do not exist."""

    @property
    def clean(self) -> bool:
        return not (self.stray or self.missing or self.pictures)


def act(arguments: dict[str, Any], write: Write) -> int:
    """Audits one organisation (``organization``, a slug) or all and what belongs to none, and mends on ``repair``.

    Returns 0 when nothing differs or everything was mended.
    """
    slug, repair = arguments.get("organization"), bool(arguments.get("repair"))
    chosen = Organization.objects.order_by("slug")
    report = _Report(write, repair)
    for organization in chosen if slug is None else chosen.filter(slug=slug):
        report.organization(organization)
    if slug is None:
        report.nobodys()
    return 1 if report.left else 0


def audit_files(organization: Organization, *, clock: Callable[[], datetime] = timezone.now) -> FileAudit:
    """Compares stored files and pictures with the rows of versions."""
    stored = stored_files(organization)
    with tenant_scope(organization):
        named = dict(DocumentVersion.objects.exclude(file="").values_list("file", "id"))
        versions = {str(i) for i in DocumentVersion.objects.values_list("id", flat=True)}
    home = _pictures() / str(organization.pk)
    folders = sorted(home.iterdir()) if home.is_dir() else []
    return FileAudit(
        stored=len(stored),
        stray=tuple(files.unnamed(organization, now=clock())),
        missing=tuple(
            str(named[key]) for key in sorted(named.keys() - stored) if not default_storage.exists(key)
        ),
        pictures=tuple(folder for folder in folders if folder.name not in versions),
    )


def repair_files(organization: Organization, found: FileAudit) -> None:
    """Removes what no row explains, after looking at the rows once more."""
    for key in found.stray:
        with tenant_scope(organization):
            named = DocumentVersion.objects.filter(file=key).exists()
        if not named:
            files.discard(key)
    for folder in found.pictures:
        shutil.rmtree(folder, ignore_errors=True)


@dataclass(slots=True)
class _Report:
    """Prints what differs, mends it if asked to, and counts what is left."""

    write: Write
    repair: bool
    left: int = field(default=0)

    def organization(self, organization: Organization) -> None:
        points, stored = reindex.audit(organization), audit_files(organization)
        state = "equal" if points.clean and stored.clean else "DIFFERENT"
        self.write(
            f"{organization.slug}: {points.points} points, {points.rows} passages, {stored.stored} files, {state}"
        )
        self._list("LEAK, a point without a row", points.leaked)
        self._list("missing, a passage without a point", points.missing)
        self._list("changed, a point with another vector", points.changed)
        self._list("LEAK, a file without a row", stored.stray)
        self._list("LEAK, pictures without a version", [folder.name for folder in stored.pictures])
        self._list("missing, a version without its file", stored.missing)
        if points.unpublished:
            self.write(f"  {len(points.unpublished)} points of versions that are not published")
        if not self.repair:
            self.left += not (points.clean and stored.clean)
            return
        if not points.clean:
            reindex.repair(organization, points)
        repair_files(organization, stored)
        self.left += len(stored.missing)
        if not points.clean or stored.stray or stored.pictures:
            self.write(f"  mended: {organization.slug}")

    def nobodys(self) -> None:
        """What lies there under the number of an organisation that does not exist."""
        known = set(Organization.objects.values_list("pk", flat=True))
        for key in sorted(reindex.orphans()):
            self._leak(f"an index of organisation {key}, which does not exist", partial(drop_orphan, key))
        for name in _numbered(_folders_in("")):
            if int(name) not in known:
                keys = list(_old_keys_in(name, timezone.now()))
                if keys:
                    self._leak(
                        f"{len(keys)} files of organisation {name}, which does not exist",
                        partial(_discard, keys),
                    )
        for folder in _numbered(sorted(f.name for f in _pictures().glob("*"))):
            if int(folder) not in known:
                self._leak(
                    f"pictures of organisation {folder}, which does not exist",
                    partial(shutil.rmtree, _pictures() / folder, ignore_errors=True),
                )

    def _leak(self, what: str, mend: Callable[[], object]) -> None:
        self.write(f"LEAK: {what}")
        if self.repair:
            mend()
        else:
            self.left += 1

    def _list(self, what: str, names: Sequence[object]) -> None:
        for name in names[:SHOWN]:
            self.write(f"  {what}: {name}")
        if len(names) > SHOWN:
            self.write(f"  … and {len(names) - SHOWN} more")


def _discard(keys: Iterable[str]) -> None:
    for key in keys:
        files.discard(key)


def _pictures() -> Path:
    return Path(settings.VAR) / "pages"


def _numbered(names: Iterable[str]) -> Iterator[str]:
    return (name for name in names if name.isdigit())


def _old_keys_in(folder: str, now: datetime) -> Iterator[str]:
    _, names = default_storage.listdir(folder)
    for name in names:
        if files.stored_at(f"{folder}/{name}", now) < now - files.UNNAMED_AFTER:
            yield f"{folder}/{name}"


def _folders_in(folder: str) -> list[str]:
    try:
        folders, _ = default_storage.listdir(folder)
    except FileNotFoundError:
        return []
    return sorted(folders)
