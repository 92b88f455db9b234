"""A random secret that this machine makes once and keeps in a file, for its owner alone."""

from __future__ import annotations

import os
import secrets
import tempfile
from pathlib import Path


def kept_secret(file: Path, entropy: int) -> str:
    """The secret in ``file``; made of ``entropy`` random bytes (as URL-safe text) where there is none or an empty one.

    Processes that ask at the same time get the same: the file appears with its content or not at all.
    """
    kept = _read(file)
    if kept:
        return kept
    descriptor, made = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}-")  # mode 0600
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as out:
            out.write(secrets.token_urlsafe(entropy))
        _appear(Path(made), file)
    finally:
        Path(made).unlink(missing_ok=True)
    return _read(file)


def _appear(made: Path, file: Path) -> None:
    try:
        if file.stat().st_size == 0:  # as a process that died left it
            made.replace(file)
    except FileNotFoundError:
        _link(made, file)


def _link(made: Path, file: Path) -> None:
    try:
        file.hardlink_to(made)
    except FileExistsError:
        return
    except OSError:  # a file system without links
        made.replace(file)


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return ""
