"""A file on its way into the storage: looked at, counted and hashed while it comes, and written once.

What always holds: nothing is written before the first bytes were accepted; what is refused, or breaks off, leaves
nothing behind; of a file at most :data:`OLE2_HEAD` bytes are in memory.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.core.files.uploadedfile import UploadedFile
from django.core.files.uploadhandler import FileUploadHandler, SkipFile

from ingestion import files
from ingestion.display_name import display_name
from ingestion.refusals import ZIP, UploadRefused, refuse_too_large, refuse_unknown_format
from tenants.models import Organization

if TYPE_CHECKING:
    _UploadedFile = UploadedFile[bytes]
else:
    _UploadedFile = UploadedFile

logger = logging.getLogger(__name__)

HEAD = 64 * 1024
"""Bytes that tell a file's kind."""
OLE2_HEAD = 1 << 20
"""The same for OLE2: whether it is a protected office file stands further in."""
_OLE2 = b"\xd0\xcf\x11\xe0"
_FIRST_NAME = 30
"""Where the name of a zip's first entry stands."""
_DOCUMENTS = (b"[Content_Types].xml", b"mimetype")


@dataclass(frozen=True, slots=True)
class Stored:
    """A file that lies in the storage under ``key``."""

    key: str
    sha256: str
    size: int
    may_be_bundle: bool = False
    """A zip whose first entry is not that of a document."""


class Intake:
    """One file; ``write`` its bytes in order, then ``finish``. Each raises :class:`UploadRefused` (400 empty, 413, 415,
    503 the storage takes no file), after which nothing is left of it."""

    def __init__(self, organization_id: int, filename: str) -> None:
        self._key = files.new_key(organization_id)
        self._filename = display_name(filename)
        self._head = bytearray()
        self._file: Any = None
        self._digest = hashlib.sha256()
        self._size = 0
        self._may_be_bundle = False

    def write(self, data: bytes) -> None:
        try:
            self._size += len(data)
            refuse_too_large(self._size)
            self._digest.update(data)
            if self._file is not None:
                self._keep(data)
                return
            self._head += data
            if len(self._head) >= (OLE2_HEAD if self._head.startswith(_OLE2) else HEAD):
                self._begin()
        except BaseException:
            self.discard()
            raise

    def finish(self) -> Stored:
        try:
            if not self._size:
                raise UploadRefused("empty", "The file is empty.", "Check the file and upload it again.")
            if self._file is None:
                self._begin()
            self._close()
        except BaseException:
            self.discard()
            raise
        return Stored(self._key, self._digest.hexdigest(), self._size, self._may_be_bundle)

    def discard(self) -> None:
        """Removes what was written. May be called at any time, and again."""
        if self._file is None:
            return
        file, self._file = self._file, None
        files.abandon(file, self._key)

    def _begin(self) -> None:
        head = bytes(self._head)
        refuse_unknown_format(head, self._filename)
        self._may_be_bundle = head.startswith(ZIP) and not head[_FIRST_NAME:].startswith(_DOCUMENTS)
        try:
            self._file = files.create(self._key)
        except OSError as error:
            raise _storage_failed() from error
        self._keep(head)
        self._head.clear()

    def _keep(self, data: bytes) -> None:
        try:
            self._file.write(data)
        except OSError as error:  # a full disk, most of all
            raise _storage_failed() from error

    def _close(self) -> None:
        try:
            self._file.close()
        except OSError as error:
            raise _storage_failed() from error


def take_in(organization: Organization, filename: str, parts: Iterable[bytes]) -> Stored:
    """Stores a file that is read part by part. Raises :class:`UploadRefused`, and whatever ``parts`` raises."""
    intake = Intake(organization.pk, filename)
    try:
        for part in parts:
            intake.write(part)
        return intake.finish()
    except BaseException:
        intake.discard()
        raise


class StoredUpload(_UploadedFile):
    """An uploaded file that lies in the storage already. Whoever does not :meth:`take` it leaves nothing behind: the end
    of the request closes it, and that removes it."""

    def __init__(self, organization_id: int, stored: Stored, name: str, content_type: str) -> None:
        super().__init__(file=None, name=name, content_type=content_type, size=stored.size)
        self.organization_id = organization_id
        self._stored: Stored | None = stored

    @property
    def stored(self) -> Stored:
        """The stored file, to be looked at. Raises ``ValueError`` after it was taken."""
        if self._stored is None:
            raise ValueError("This upload was taken already.")
        return self._stored

    def take(self, organization: Organization) -> Stored:
        """The stored file, which is the caller's from now on."""
        if self.organization_id != organization.pk:
            raise ValueError("This upload belongs to another organisation.")
        stored, self._stored = self.stored, None
        return stored

    def close(self) -> None:
        if self._stored is not None:
            files.discard(self._stored.key)
            self._stored = None


class IntakeHandler(FileUploadHandler):
    """Django's way of handing over an upload as it comes: the file of the field ``file`` goes straight into the storage,
    files of other fields are passed over."""

    def __init__(self, organization: Organization) -> None:
        super().__init__()
        self._organization_id: int = organization.pk
        self._intake: Intake | None = None

    def new_file(self, *args: Any, **kwargs: Any) -> None:
        super().new_file(*args, **kwargs)
        if self.field_name != "file":
            raise SkipFile
        self._intake = Intake(self._organization_id, self.file_name or "")

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        if self._intake is not None:
            self._intake.write(raw_data)

    def file_complete(self, file_size: int) -> StoredUpload | None:
        if self._intake is None:
            return None
        stored, self._intake = self._intake.finish(), None
        return StoredUpload(self._organization_id, stored, self.file_name or "", self.content_type or "")

    def upload_interrupted(self) -> None:
        self.discard()

    def discard(self) -> None:
        """Removes a file that did not come to its end."""
        if self._intake is not None:
            self._intake.discard()
            self._intake = None


def _storage_failed() -> UploadRefused:
    logger.exception("an upload could not be stored")
    return UploadRefused(
        "storage_failed",
        "The file could not be stored.",
        "Try again later. If it stays so, tell the operator of this installation.",
        503,
    )
