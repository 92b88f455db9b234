"""A zip becomes one document per member. Each is accepted or refused by itself; the answer tells of every one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.core.files.base import File

from ingestion import files, jobs, zips
from ingestion.intake import StoredUpload, take_in
from ingestion.models import Priority
from ingestion.refusals import UploadRefused, refuse_full_queue
from ingestion.uploads import LONGEST_EXTERNAL_ID, accept_upload
from search.models import Collection
from tenants.models import Organization

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser


@dataclass(frozen=True, slots=True)
class Accepted:
    """A member that is a document now. ``name`` is its path in the zip."""

    name: str
    document_id: UUID


@dataclass(frozen=True, slots=True)
class Refused:
    """A member that is none, and why."""

    name: str
    code: str
    message: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Bundle:
    """What became of a zip."""

    accepted: tuple[Accepted, ...]
    refused: tuple[Refused, ...]


def is_bundle(stream: File[bytes]) -> bool:
    """Whether an upload that lies in the storage is a zip of documents."""
    if not isinstance(stream, StoredUpload) or not (stored := stream.stored).may_be_bundle:
        return False
    with files.local_copy(stored.key) as path:
        return zips.holds_documents(path)


def accept_bundle(
    *,
    organization: Organization,
    user: AbstractBaseUser | None,
    name: str,
    stream: File[bytes],
    collection: Collection | None = None,
    external_id: str = "",
) -> Bundle:
    """Stores each member of a zip as a document of its own, as a bulk import; the zip itself is not kept.

    With ``external_id`` a member's own is ``external_id/path``, so that the next zip replaces what changed. Raises
    :class:`UploadRefused` where the zip as a whole is not accepted, among others for one that is a document itself.
    """
    refuse_full_queue(organization)
    if isinstance(stream, StoredUpload):
        stored = stream.take(organization)
    else:
        stored = take_in(organization, name, stream.chunks())
    accepted: list[Accepted] = []
    refused: list[Refused] = []
    try:
        with files.local_copy(stored.key) as path:
            if not zips.holds_documents(path):
                raise UploadRefused("not_a_zip", "This is no zip of documents.", "Upload it as a file.", 415)
            with path.open("rb") as file, zips.open_zip(file) as archive:
                for member in zips.members(archive):
                    own = _Member(archive, member)
                    try:
                        zips.refuse_member(member)
                        document = accept_upload(
                            organization=organization,
                            user=user,
                            name=PurePosixPath(own.path).name,
                            stream=own,
                            collection=collection,
                            external_id=_external_id(external_id, own.path),
                            priority=Priority.BULK,
                        )
                    except UploadRefused as no:
                        refused.append(Refused(own.path, no.code, no.message, no.remedy))
                    else:
                        accepted.append(Accepted(own.path, document.id))
    finally:
        files.discard(stored.key)
    jobs.wake_workers()
    return Bundle(tuple(accepted), tuple(refused))


class _Member(File):  # type: ignore[type-arg]
    """A member as a file that can be read once, block by block."""

    def __init__(self, archive: Any, member: Any) -> None:
        super().__init__(None, name=member.filename)
        self.path = member.filename.replace("\\", "/")[:1000]
        self._archive, self._member = archive, member

    def chunks(self, chunk_size: int | None = None) -> Iterator[bytes]:
        return zips.read_member(self._archive, self._member)


def _external_id(prefix: str, path: str) -> str | None:
    if not prefix:
        return None
    whole = f"{prefix}/{path}"
    if len(whole) > LONGEST_EXTERNAL_ID:
        raise UploadRefused(
            "invalid",
            f"Its external_id would be longer than {LONGEST_EXTERNAL_ID} characters.",
            "Shorten the path or the external_id.",
        )
    return whole
