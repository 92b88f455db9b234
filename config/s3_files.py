"""Uploaded files in an S3 bucket: django-storages' backend, which fails as a file system does.

What always holds: whatever S3, or the way to it, fails with is an ``OSError`` for whoever uses the storage,
``FileNotFoundError`` where there is no such file; a file goes out in parts of 5 MB as it is written, and what is abandoned
leaves no part behind; of a file that is read at most :data:`IN_MEMORY` bytes are in memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from boto3.exceptions import Boto3Error
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from storages.backends.s3 import S3File, S3Storage
from storages.utils import clean_name

IN_MEMORY = 8 << 20
CONNECT_S, READ_S, TRIES = 5, 60, 3
NOT_FOUND = 404


@contextmanager
def _as_os_error(name: str) -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") == NOT_FOUND:
            raise FileNotFoundError(f"There is no file {name}.") from error
        raise OSError(f"S3 refused: {error}") from error
    except (BotoCoreError, Boto3Error) as error:
        raise ConnectionError(f"S3 was not reached: {error}") from error


class StreamedFile(S3File):  # type: ignore[misc]
    """A file that is read, or written part by part and lies there once it is closed."""

    def _get_file(self) -> Any:
        with _as_os_error(self.name):
            return super()._get_file()

    file = property(_get_file, S3File._set_file)

    def write(self, content: bytes) -> int:
        with _as_os_error(self.name):
            return int(super().write(content))

    def close(self) -> None:
        with _as_os_error(self.name):
            super().close()

    def abandon(self) -> None:
        """Ends it without a file: the parts that went out are given up."""
        self._is_dirty = False
        self.close()


class S3Files(S3Storage):  # type: ignore[misc]
    """The storage of the product where ``TESSERA_S3_BUCKET`` is set."""

    def get_default_settings(self) -> dict[str, Any]:
        """No ACL is named: files belong to nobody but the bucket's owner without one, and buckets may refuse any."""
        client = Config(
            connect_timeout=CONNECT_S,
            read_timeout=READ_S,
            retries={"mode": "standard", "total_max_attempts": TRIES},
            request_checksum_calculation="when_required",  # many servers other than Amazon's know no others
            response_checksum_validation="when_required",
        )
        return {**super().get_default_settings(), "max_memory_size": IN_MEMORY, "client_config": client}

    def _open(self, name: str, mode: str = "rb") -> StreamedFile:
        with _as_os_error(name):
            return StreamedFile(self._normalize_name(clean_name(name)), mode, self)

    def _save(self, name: str, content: Any) -> str:
        with _as_os_error(name):
            return str(super()._save(name, content))

    def delete(self, name: str) -> None:
        with _as_os_error(name):
            super().delete(name)

    def exists(self, name: str) -> bool:
        with _as_os_error(name):
            return bool(super().exists(name))

    def listdir(self, name: str) -> tuple[list[str], list[str]]:
        with _as_os_error(name):
            folders, files = super().listdir(name)
            return folders, files

    def size(self, name: str) -> int:
        with _as_os_error(name):
            return int(super().size(name))

    def get_modified_time(self, name: str) -> datetime:
        with _as_os_error(name):
            found: datetime = super().get_modified_time(name)
            return found
