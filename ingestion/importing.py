"""A folder becomes documents, and the next run follows what changed in it.

A file's document is known by ``external_id`` = source/relative path, where the source is the folder's name or one that was
given. What always holds: a file whose content is its document's newest is not sent again; documents of other sources are
never touched; one file that is refused stops no other; links are not followed; a document is deleted only after its own file
was looked for and is not there, and never when no file at all was found.
"""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any
from uuid import UUID

from django.core.files.base import File
from django.db.models import OuterRef, Subquery

from ingestion import deletion, jobs
from ingestion.models import IngestionJob, Priority
from ingestion.refusals import UploadRefused, refuse_too_large
from ingestion.uploads import LONGEST_EXTERNAL_ID, accept_upload
from search.models import Collection, Document, DocumentVersion
from tenants.models import Organization
from tenants.scope import tenant_scope

WAKE_EVERY = 100
POLL_SECONDS = 1.0
_SENT = ("added", "changed")
_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class Unread:
    """A file that is no searchable document, or a folder that could not be listed, and why."""

    path: str
    code: str
    message: str


@dataclass(slots=True)
class Report:
    """What a run did, in files."""

    added: int = 0
    changed: int = 0
    unchanged: int = 0
    deleted: int = 0
    sent: dict[UUID, str] = field(default_factory=dict)
    """The documents that were queued, and their paths."""
    refused: list[Unread] = field(default_factory=list)


def import_folder(
    *,
    organization: Organization,
    folder: Path,
    source: str = "",
    collection: Collection | None = None,
    pattern: str = "*",
    recursive: bool = True,
    delete_missing: bool = False,
    on_file: Callable[[str, str], None] = lambda path, outcome: None,
) -> Report:
    """Queues new and changed files as a bulk import. ``on_file(path, outcome)`` is called after each."""
    source = source or folder.resolve().name
    known = _known(organization, source)
    report, seen = Report(), set[str]()

    def unlisted(error: OSError) -> None:
        where = Path(error.filename or folder).relative_to(folder).as_posix()
        report.refused.append(Unread(where, "unreadable", error.strerror or str(error)))

    for path in _files(folder, pattern, recursive=recursive, on_error=unlisted):
        relative = path.relative_to(folder).as_posix()
        external_id = f"{source}/{relative}"
        relative = relative.encode("utf-8", "replace").decode()  # as it can be printed
        seen.add(external_id)
        try:
            outcome = _import_one(organization, path, external_id, collection, known, report)
        except UploadRefused as refusal:
            report.refused.append(Unread(relative, refusal.code, str(refusal)))
            outcome = refusal.code
        except OSError as error:
            report.refused.append(Unread(relative, "unreadable", error.strerror or str(error)))
            outcome = "unreadable"
        on_file(relative, outcome)
        if outcome in _SENT and len(report.sent) % WAKE_EVERY == 1:
            jobs.wake_workers()
    if delete_missing and not seen and known:
        report.refused.append(
            Unread(".", "nothing_found", "No file was found here, so no document was deleted.")
        )
    elif delete_missing:
        for external_id in sorted(known.keys() - seen):
            if _is_gone(folder / external_id.removeprefix(f"{source}/")):
                report.deleted += deletion.begin_deletion(
                    organization=organization, document_id=known[external_id][0]
                )
    if report.sent:
        jobs.wake_workers()
    return report


def wait_for(organization: Organization, report: Report) -> Iterator[int]:
    """Yields how many of the sent documents are not final yet, until none is; then those that failed stand in
    ``report.refused``. Somebody must be working."""
    ids = list(report.sent)
    while waiting := _unfinished(organization, ids):
        yield waiting
        time.sleep(POLL_SECONDS)
    with tenant_scope(organization):
        for part in _parts(ids):
            failed = IngestionJob.objects.filter(document__in=part, status=IngestionJob.Status.FAILED)
            newest = failed.filter(version=Subquery(_newest_version(OuterRef("document"))))
            for job in newest:
                report.refused.append(Unread(report.sent[job.document_id], job.error_code, job.error_message))


def _import_one(
    organization: Organization,
    path: Path,
    external_id: str,
    collection: Collection | None,
    known: dict[str, tuple[UUID, str]],
    report: Report,
) -> str:
    if len(external_id) > LONGEST_EXTERNAL_ID:
        raise UploadRefused(
            "path_too_long", f"Its path is longer than {LONGEST_EXTERNAL_ID} characters.", "Shorten it."
        )
    try:
        external_id.encode()
    except UnicodeEncodeError:
        raise UploadRefused("unsafe_name", "Its name is not valid UTF-8.", "Rename it.") from None
    refuse_too_large(path.stat().st_size)
    found = known.get(external_id)
    if found is not None and found[1] == _sha256(path):
        report.unchanged += 1
        return "unchanged"
    with path.open("rb") as stream:
        document = accept_upload(
            organization=organization,
            user=None,
            name=path.name,
            stream=File(stream),
            collection=collection,
            external_id=external_id,
            priority=Priority.BULK,
            limited=False,
        )
    report.sent[document.id] = external_id.partition("/")[2]
    if found is None:
        report.added += 1
        return "added"
    report.changed += 1
    return "changed"


def _known(organization: Organization, source: str) -> dict[str, tuple[UUID, str]]:
    """Document and newest content by ``external_id``, of one source."""
    with tenant_scope(organization):
        documents = Document.objects.filter(external_id__startswith=f"{source}/").annotate(
            newest=Subquery(_newest_version(OuterRef("pk"), "sha256"))
        )
        rows = documents.values_list("external_id", "id", "newest")
        return {
            external_id: (id_, sha256 or "")
            for external_id, id_, sha256 in rows.iterator()
            if external_id and external_id.startswith(f"{source}/")  # to SQLite's LIKE "Docs/" is "docs/"
        }


def _newest_version(document: OuterRef, value: str = "pk") -> Any:
    versions = DocumentVersion.objects.filter(document=document).order_by("-created_at")
    return versions.values(value)[:1]


def _unfinished(organization: Organization, ids: list[UUID]) -> int:
    on_the_way = [IngestionJob.Status.QUEUED, IngestionJob.Status.PROCESSING]
    with tenant_scope(organization):
        return sum(
            IngestionJob.objects.filter(document__in=part, status__in=on_the_way).count()
            for part in _parts(ids)
        )


def _parts(ids: list[UUID], size: int = 500) -> Iterator[list[UUID]]:
    for start in range(0, len(ids), size):
        yield ids[start : start + size]


def _is_gone(path: Path) -> bool:
    """Whether no file is there; not when that cannot be told."""
    try:
        return stat.S_ISDIR(path.lstat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False


def _files(
    folder: Path, pattern: str, *, recursive: bool, on_error: Callable[[OSError], None]
) -> Iterator[Path]:
    """Plain files in order, without hidden ones; ``pattern`` is matched with the name. ``on_error`` is told of folders that
    cannot be listed."""
    for where, folders, names in os.walk(folder, onerror=on_error):
        folders[:] = sorted(each for each in folders if not each.startswith(".")) if recursive else []
        for name in sorted(names):
            path = Path(where) / name
            if (
                not name.startswith(".")
                and fnmatch(name, pattern)
                and path.is_file()
                and not path.is_symlink()
            ):
                yield path


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
